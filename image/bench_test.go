package image

import (
	"testing"
)

// BenchmarkUse is what `run` pays for an image that is there: hold, get by name, lower, release.
func BenchmarkUse(b *testing.B) {
	s := newStore(b, Dir)
	addImage(b, s, "docker.io/library/app:latest", tarOf(b, "a", "a"), tarOf(b, "b", "b"))
	ref := mustRef(b, "app")
	for b.Loop() {
		release, err := s.Hold()
		if err != nil {
			b.Fatal(err)
		}
		img, err := s.Get(b.Context(), ref)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := s.Lower(b.Context(), img); err != nil {
			b.Fatal(err)
		}
		release()
	}
}

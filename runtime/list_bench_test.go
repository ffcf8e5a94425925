package runtime

import (
	"os"
	"testing"

	"github.com/gantryrun/gantry/pods"
)

func BenchmarkList(b *testing.B) {
	dir := os.Getenv("LISTDIR")
	for b.Loop() {
		if _, err := List(pods.In(dir), false); err != nil {
			b.Fatal(err)
		}
	}
}

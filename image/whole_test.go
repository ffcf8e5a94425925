package image

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestShortLayer: a tar that has lost its end behind the store's back is not mounted, unpacked or taken for fetched, and the next fetch
// replaces it.
func TestShortLayer(t *testing.T) {
	if !inMountNamespace(t) {
		return
	}
	data := tarOf(t, "a", strings.Repeat("a", 50_000))
	for _, damage := range []struct {
		name string
		do   func(dir string) error
	}{
		{"tar cut off", func(dir string) error { return os.Truncate(filepath.Join(dir, "tar"), 1024) }},
		{"tar empty", func(dir string) error { return os.Truncate(filepath.Join(dir, "tar"), 0) }},
		{"tar gone", func(dir string) error { return os.Remove(filepath.Join(dir, "tar")) }},
		{"index empty", func(dir string) error { return os.Truncate(filepath.Join(dir, "index"), 0) }},
	} {
		t.Run(damage.name, func(t *testing.T) {
			s := newStore(t, Erofs)
			needErofs(t, s.dir)
			img := addImage(t, s, "docker.io/library/app:latest", data)
			id := img.DiffIDs[0]
			if err := damage.do(s.layerDir(id)); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Lower(t.Context(), img); !errors.Is(err, ErrCorrupt) {
				t.Errorf("mounted: %v", err)
			}
			if err := s.Extract(t.Context(), img, filepath.Join(t.TempDir(), "out")); err == nil {
				t.Error("extracted")
			}
			if there, err := s.HasLayer(id); there || err != nil {
				t.Fatalf("the layer is there: %v, %v", there, err)
			}
			addLayer(t, s, data)
			if there, err := s.HasLayer(id); !there || err != nil {
				t.Fatalf("the layer is not there: %v, %v", there, err)
			}
			lower, err := s.Lower(t.Context(), img)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(filepath.Join(lower[0], "a")); len(got) != 50_000 || err != nil {
				t.Errorf("%d bytes, %v", len(got), err)
			}
			if left, _ := filepath.Glob(s.dir + "/*/.[nt]*"); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

// TestShortLayerMounted: where an image is mounted from the short tar, it is mounted anew when the layer has been fetched.
func TestShortLayerMounted(t *testing.T) {
	if !inMountNamespace(t) {
		return
	}
	s := newStore(t, Erofs)
	needErofs(t, s.dir)
	data := tarOf(t, "a", strings.Repeat("a", 50_000))
	img := addImage(t, s, "docker.io/library/app:latest", data)
	lower, err := s.Lower(t.Context(), img)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(s.layerDir(img.DiffIDs[0]), "tar"), 1024); err != nil {
		t.Fatal(err)
	}
	addLayer(t, s, data)
	if got, err := os.ReadFile(filepath.Join(lower[0], "a")); len(got) != 50_000 || err != nil {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

package layer

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Layers of real images, which make test-images builds: GANTRY_TEST_LAYERS is a list of tars, lowest first.
func TestRealLayers(t *testing.T) {
	list := os.Getenv("GANTRY_TEST_LAYERS")
	if list == "" {
		t.Skip("GANTRY_TEST_LAYERS names no layers")
	}
	var tars [][]byte
	for _, name := range filepath.SplitList(list) {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		tars = append(tars, b)
	}
	begin := time.Now()
	s, err := scanAll(t, tars...)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("scan: %v, %d names, %d MB", time.Since(begin), s.tree.Names, s.tree.Bytes>>20)
	for k, l := range s.layers {
		t.Logf("layer %d: %d entries, %v", k+1, l.Entries(), l.Warnings)
	}
	ours := s.everyWay(t)
	begin = time.Now()
	theirs, err := byUmoci(t, tars...)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("umoci: %v", time.Since(begin))
	sameAs(t, "umoci", ours, theirs)
}

package layer

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gantryrun/gantry/tests/testimages"
)

// TestRealLayers unpacks real images in every way, and by umoci: those that make test-images builds, of a base, what a
// package manager does to it, and files; or, if GANTRY_TEST_LAYERS is set, the tars that it lists, lowest first.
func TestRealLayers(t *testing.T) {
	if list := os.Getenv("GANTRY_TEST_LAYERS"); list != "" {
		testReal(t, filepath.SplitList(list))
		return
	}
	for name, parts := range map[string][]string{
		"nginx": {"minbase", "packages-nginx-light", "files-nginx"},
		"redis": {"packages-redis-server", "packages-gawk", "files-redis"}, // changes, and what they changed is not there
	} {
		t.Run(name, func(t *testing.T) {
			var list []string
			for _, part := range parts {
				file := filepath.Join(testimages.Cache(), "layer", part+".tar")
				if _, err := os.Stat(file); err != nil {
					t.Skipf("skipped: layer %s is not built: run make test-images", part)
				}
				list = append(list, file)
			}
			testReal(t, list)
		})
	}
}

func testReal(t *testing.T, list []string) {
	var tars [][]byte
	for _, name := range list {
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

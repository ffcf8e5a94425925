package stage1

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestMakeTargets: only what no layer has in any form is made, and what is there already is kept.
func TestMakeTargets(t *testing.T) {
	dir := t.TempDir()
	layers := []string{filepath.Join(dir, "top"), filepath.Join(dir, "bottom")}
	upper := filepath.Join(dir, "upper")
	for _, d := range append(layers, upper) {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/nonesuch", filepath.Join(layers[1], "dev")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(layers[0], "proc"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 { // an upper directory is used again when a prepared pod is run once more
		if err := makeTargets(layers, upper); err != nil {
			t.Fatal(err)
		}
		entries, err := os.ReadDir(upper)
		if err != nil {
			t.Fatal(err)
		}
		var made []string
		for _, e := range entries {
			if info, err := e.Info(); err != nil || info.Mode() != os.ModeDir|0o755 {
				t.Errorf("%s: %v, %v", e.Name(), info, err)
			}
			made = append(made, e.Name())
		}
		if !slices.Equal(made, []string{"sys"}) {
			t.Errorf("made %q", made)
		}
	}
}

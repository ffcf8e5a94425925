package layer

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Unpacking the layers of GANTRY_TEST_LAYERS, beside GNU tar doing the same. Nothing is synced.
func BenchmarkUnpack(b *testing.B) {
	list := filepath.SplitList(os.Getenv("GANTRY_TEST_LAYERS"))
	if len(list) == 0 {
		b.Skip("GANTRY_TEST_LAYERS names no layers")
	}
	var layers []*Layer
	var tars []*os.File
	for _, name := range list {
		f, err := os.Open(name)
		if err != nil {
			b.Fatal(err)
		}
		defer f.Close()
		l, err := Scan(f, Limits{})
		if err != nil {
			b.Fatal(err)
		}
		layers, tars = append(layers, l), append(tars, f)
	}
	empty := func(b *testing.B) string {
		b.StopTimer()
		defer b.StartTimer()
		dir, err := os.MkdirTemp(b.TempDir(), "")
		if err != nil {
			b.Fatal(err)
		}
		return dir
	}
	b.Run("gantry", func(b *testing.B) {
		for range b.N {
			dir := empty(b)
			tree, err := Merge(layers)
			if err != nil {
				b.Fatal(err)
			}
			if err := tree.Unpack(context.Background(), dir, tars); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("tar", func(b *testing.B) {
		for range b.N {
			dir := empty(b)
			for _, name := range list {
				if out, err := exec.Command("tar", "-C", dir, "-xpf", name, "--same-owner", "--numeric-owner").CombinedOutput(); err != nil {
					b.Fatalf("tar: %v: %s", err, out)
				}
			}
		}
	})
}

package e2e

import (
	"archive/tar"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// unpackTar unpacks an image's layers in order with GNU tar, each after its whiteouts were applied by hand.
// A directory that a layer does not name keeps its time, although GNU tar makes files in it: the time is the
// image's, not that of the unpacking.
func unpackTar(t *testing.T, dir string) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "tar")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, l := range layersOf(t, dir, "1") {
		times := dirTimes(t, root)
		for _, name := range whiteouts(t, root, l) {
			delete(times, filepath.Join(root, name))
		}
		blob, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("tar", "-x", "-C", root, "--exclude=.wh.*", "--xattrs", "--xattrs-include=*", "--numeric-owner", "--same-owner", "-p", "-f", "-")
		cmd.Stdin = blob
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("tar: %v\n%s", err, out)
		}
		blob.Close()
		for path, mtime := range times {
			if err := os.Chtimes(path, mtime, mtime); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
		}
	}
	return root
}

func dirTimes(t *testing.T, root string) map[string]time.Time {
	t.Helper()
	times := map[string]time.Time{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		info, err := d.Info()
		times[path] = info.ModTime()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return times
}

// whiteouts removes from root what a layer's whiteouts hide, and returns the names of the layer.
func whiteouts(t *testing.T, root string, l v1.Layer) []string {
	t.Helper()
	blob, err := l.Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer blob.Close()
	var names []string
	for r := tar.NewReader(blob); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
		dir, base := filepath.Split(filepath.Join(root, h.Name))
		switch {
		case base == ".wh..wh..opq":
			err = errors.Join(os.RemoveAll(dir), os.Mkdir(filepath.Clean(dir), 0o755))
		case strings.HasPrefix(base, ".wh."):
			err = os.RemoveAll(filepath.Join(dir, strings.TrimPrefix(base, ".wh.")))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func layersOf(t *testing.T, dir, tag string) []v1.Layer {
	t.Helper()
	path, err := layout.FromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	index, err := path.ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range manifest.Manifests {
		if d.Annotations["org.opencontainers.image.ref.name"] != tag {
			continue
		}
		img, err := path.Image(d.Digest)
		if err != nil {
			t.Fatal(err)
		}
		layers, err := img.Layers()
		if err != nil {
			t.Fatal(err)
		}
		return layers
	}
	t.Fatalf("no tag %s in %s", tag, dir)
	return nil
}

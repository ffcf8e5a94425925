package fetch

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	ocilayout "github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/opencontainers/go-digest"

	"github.com/gantryrun/gantry/image"
	"github.com/gantryrun/gantry/image/order"
)

// writeLayout makes an OCI layout of one image that calls itself refName.
func writeLayout(t testing.TB, img v1.Image, refName string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "layout")
	addToLayout(t, dir, img, refName)
	return dir
}

func addToLayout(t testing.TB, dir string, img v1.Image, refName string) {
	t.Helper()
	path, err := ocilayout.FromPath(dir)
	if err != nil {
		if path, err = ocilayout.Write(dir, empty.Index); err != nil {
			t.Fatal(err)
		}
	}
	var opts []ocilayout.Option
	if refName != "" {
		opts = append(opts, ocilayout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": refName}))
	}
	if err := path.AppendImage(img, opts...); err != nil {
		t.Fatal(err)
	}
}

// tarDir makes a tar of a directory's files.
func tarDir(t testing.TB, dir string) string {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	if err := w.AddFS(os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "archive.tar")
	if err := os.WriteFile(path, buf.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFetchLocal(t *testing.T) {
	one, two := newImage(t, gzLayer(t, "which", "one")), newImage(t, gzLayer(t, "which", "two"))
	single := writeLayout(t, one, "")
	both := writeLayout(t, one, "v1")
	addToLayout(t, both, two, "reg.example/app:v2")
	saved := filepath.Join(t.TempDir(), "saved.tar")
	tag, err := name.NewTag("docker.io/library/app:v1")
	if err != nil {
		t.Fatal(err)
	}
	if err := tarball.WriteToFile(saved, tag, one); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct{ ref, want string }{
		"layout":                    {"oci:" + single, "one"},
		"layout, sniffed":           {single, "one"},
		"layout by tag":             {"oci:" + both + ":v1", "one"},
		"layout by name":            {"oci:" + both + ":reg.example/app:v2", "two"},
		"archive":                   {"oci-archive:" + tarDir(t, both) + ":v1", "one"},
		"archive, sniffed":          {"file://" + tarDir(t, single), "one"},
		"docker archive":            {"docker-archive:" + saved, "one"},
		"docker archive, sniffed":   {saved, "one"},
		"docker archive, short tag": {"docker-archive:" + saved + ":app:v1", "one"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t)
			ref := mustRef(t, tc.ref)
			img, err := c.Fetch(t.Context(), ref, order.Options{})
			if err != nil {
				t.Fatal(err)
			}
			checkStored(t, c.Store, img, ref)
			wantFile(t, c.Store, img, "which", tc.want)
		})
	}
}

func TestFetchLocalRefuses(t *testing.T) {
	one := newImage(t, gzLayer(t, "which", "one"))
	both := writeLayout(t, one, "v1")
	addToLayout(t, both, newImage(t, gzLayer(t, "which", "two")), "v2")
	short := writeLayout(t, one, "v1")
	hash, err := one.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(short, "blobs", "sha256", hash.Hex)); err != nil {
		t.Fatal(err)
	}
	compressed := filepath.Join(t.TempDir(), "x.tar.gz")
	if err := os.WriteFile(compressed, gz(t, tarOf(t, "a", "a")), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		ref  string
		want string
	}{
		"no such tag":        {"oci:" + both + ":v3", `"v1", "v2"`},
		"no tag":             {"oci:" + both, "add :TAG"},
		"blob missing":       {"oci:" + short, "is not in there"},
		"compressed":         {compressed, "decompress it first"},
		"not an image":       {t.TempDir(), "holds no image"},
		"device":             {"/dev/null", "neither file nor directory"},
		"no tar":             {"/proc/self/status", "read archive"},
		"directory as file":  {"oci-archive:" + both, "holds no image"},
		"file as directory":  {"oci:" + tarDir(t, both), "oci-archive:"},
		"layout as docker's": {"docker-archive:" + tarDir(t, both), "docker save"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t)
			_, err := c.Fetch(t.Context(), mustRef(t, tc.ref), order.Options{})
			if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want %q in it", err, tc.want)
			}
		})
	}
}

func TestLayoutLinksLeadNowhere(t *testing.T) {
	c := newClient(t)
	dir := writeLayout(t, newImage(t, gzLayer(t, "a", "a")), "")
	if err := os.Remove(filepath.Join(dir, "index.json")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "index.json")); err != nil {
		t.Fatal(err)
	}
	_, err := c.Fetch(t.Context(), mustRef(t, "oci:"+dir), order.Options{})
	if err == nil || errors.Is(err, image.ErrNotFound) || errors.Is(err, image.ErrManifest) {
		t.Errorf("got %v, want that the link leads out", err)
	}
}

// nest writes a layout of an image that the client's store has, below so many indexes, the layout's own included.
func nest(t *testing.T, c *Client, dir, id string, depth int) {
	t.Helper()
	blobs := filepath.Join(dir, "blobs", "sha256")
	if err := os.CopyFS(blobs, os.DirFS(filepath.Join(c.Store.Dir(), "blobs", "sha256"))); err != nil {
		t.Fatal(err)
	}
	data, err := c.Store.Blob(digest.Digest(id))
	if err != nil {
		t.Fatal(err)
	}
	mediaType := "application/vnd.oci.image.manifest.v1+json"
	for i := range depth + 1 {
		data = fmt.Appendf(nil, `{"schemaVersion":2,"manifests":[{"mediaType":%q,"digest":%q,"size":%d}]}`, mediaType, digest.FromBytes(data), len(data))
		mediaType = "application/vnd.oci.image.index.v1+json"
		path := filepath.Join(blobs, digest.FromBytes(data).Encoded())
		if i == depth {
			path = filepath.Join(dir, "index.json")
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644); err != nil {
		t.Fatal(err)
	}
}

func FuzzArchive(f *testing.F) {
	f.Add(tarOf(f, "oci-layout", `{"imageLayoutVersion":"1.0.0"}`, "index.json", `{"schemaVersion":2,"manifests":[]}`))
	f.Add(tarOf(f, "manifest.json", `[{"Config":"c","Layers":["l"]}]`, "c", `{"rootfs":{"diff_ids":["sha256:x"]}}`, "l", ""))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "x")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		src, err := openLocal(mustRef(t, path))
		if err != nil {
			return
		}
		defer src.close()
		if _, _, err := src.root(t.Context()); err == nil && len(data) == 0 {
			t.Fatal("an image of nothing")
		}
	})
}

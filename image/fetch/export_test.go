package fetch

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/pgzip"

	"github.com/gantryrun/gantry/image"
	"github.com/gantryrun/gantry/image/order"
)

func export(t *testing.T, store *image.Store, img *image.Image) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "out.tar")
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := store.Export(t.Context(), img, f, func(w io.Writer) io.WriteCloser { return pgzip.NewWriter(w) }); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestExport: what goes out comes in again, the same tree with the same ID if the blobs were kept.
func TestExport(t *testing.T) {
	reg := newRegistry(t)
	plain := tarOf(t, "etc/b", numbered(100_000))
	ref := reg.push(t, "app:v1", newImage(t, gzLayer(t, "etc/a", "a"), newLayer(zst(t, plain), plain, types.OCILayerZStd), gzLayer(t, "etc/a", "a")))
	for _, keep := range []bool{false, true} {
		c := newClient(t)
		img, err := c.Fetch(t.Context(), ref, order.Options{KeepBlobs: keep})
		if err != nil {
			t.Fatal(err)
		}
		path := export(t, c.Store, img)
		for _, from := range []string{path, "oci-archive:" + path + ":" + ref.String()} {
			again, err := newClient(t).Fetch(t.Context(), mustRef(t, from), order.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if again.ChainID != img.ChainID || (again.ID == img.ID) != keep {
				t.Errorf("keep %v: exported %s, got back %s", keep, img.ID, again.ID)
			}
			if original := again.Manifest.Annotations["run.gantry.original-manifest"]; !keep && original != img.ID.String() {
				t.Errorf("original manifest is %q", original)
			}
		}
	}
}

// TestExportForSkopeo: others read it too.
func TestExportForSkopeo(t *testing.T) {
	skopeo, err := exec.LookPath("skopeo")
	if err != nil {
		t.Skipf("no skopeo: %v", err)
	}
	reg, c := newRegistry(t), newClient(t)
	ref := reg.push(t, "app:v1", newImage(t, gzLayer(t, "etc/a", "a"), gzLayer(t, "etc/b", "b")))
	img, err := c.Fetch(t.Context(), ref, order.Options{})
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "saved.tar")
	cmd := exec.CommandContext(t.Context(), skopeo, "copy", "--insecure-policy", "oci-archive:"+export(t, c.Store, img), "docker-archive:"+to+":example.com/app:v1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	again, err := newClient(t).Fetch(t.Context(), mustRef(t, to), order.Options{})
	if err != nil || again.ChainID != img.ChainID {
		t.Errorf("%v, %v", again, err)
	}
}

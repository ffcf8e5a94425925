package fetch

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/schema"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantryrun/gantry/image"
	"github.com/gantryrun/gantry/image/order"
)

// passes validates a document against the image-spec's own JSON schema.
func passes(t *testing.T, kind schema.Validator, what string, data []byte) {
	t.Helper()
	if err := kind.Validate(bytes.NewReader(data)); err != nil {
		t.Errorf("%s does not pass %s: %v\n%s", what, kind, err, data)
	}
}

// TestSchema: what lies in the store, and what is exported from it, passes the image-spec's schema; for images of
// registries, of docker's archives and of appc.
func TestSchema(t *testing.T) {
	reg := newRegistry(t)
	plain := tarOf(t, "etc/b", numbered(50_000))
	oci := reg.push(t, "app:v1", newImage(t, gzLayer(t, "etc/a", "a"), newLayer(zst(t, plain), plain, types.OCILayerZStd)))
	docker := writeFile(t, filepath.Join(t.TempDir(), "docker.tar"), dockerSave(t, plain))
	archive := writeFile(t, filepath.Join(t.TempDir(), "x.aci"), aciOf(t, aciManifest("example.com/app", aciApp), "a", "a"))
	for name, ref := range map[string]image.Ref{"registry": oci, "docker archive": mustRef(t, "docker-archive:"+docker), "appc": mustRef(t, archive)} {
		for _, keep := range []bool{false, true} {
			c := newClient(t)
			img, err := c.Fetch(t.Context(), ref, order.Options{Platform: "linux/amd64", KeepBlobs: keep})
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			for d, kind := range map[digest.Digest]schema.Validator{img.ID: schema.ValidatorMediaTypeManifest, img.Manifest.Config.Digest: schema.ValidatorMediaTypeImageConfig} {
				data, err := c.Store.Blob(d)
				if err != nil {
					t.Fatal(err)
				}
				passes(t, kind, name+" in the store", data)
			}
			checkExport(t, name, export(t, c.Store, img))
		}
	}
}

// checkExport validates every document of an OCI archive.
func checkExport(t *testing.T, name, path string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	seen := map[schema.Validator]int{}
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag != tar.TypeReg || h.Size > 1<<20 {
			continue
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		var kind schema.Validator
		switch {
		case h.Name == ocispec.ImageLayoutFile:
			kind = schema.ValidatorMediaTypeLayoutHeader
		case h.Name == ocispec.ImageIndexFile:
			kind = schema.ValidatorMediaTypeImageIndex
		case strings.Contains(string(data[:min(len(data), 4096)]), `"schemaVersion"`):
			kind = schema.ValidatorMediaTypeManifest
		case strings.Contains(string(data[:min(len(data), 4096)]), `"rootfs"`):
			kind = schema.ValidatorMediaTypeImageConfig
		default:
			continue // a layer
		}
		seen[kind]++
		passes(t, kind, name+", exported: "+h.Name, data)
	}
	if len(seen) != 4 {
		t.Errorf("%s: the export has only %v", name, seen)
	}
}

// dockerSave is what docker save writes of a tar.
func dockerSave(t *testing.T, layer []byte) []byte {
	t.Helper()
	config := `{"architecture":"amd64","os":"linux","config":{"Env":["A=b"]},"rootfs":{"type":"layers","diff_ids":["` + digest.FromBytes(layer).String() + `"]}}`
	return tarOf(t, "c.json", config, "l/layer.tar", string(layer), "manifest.json", `[{"Config":"c.json","RepoTags":["example.com/app:1"],"Layers":["l/layer.tar"]}]`)
}

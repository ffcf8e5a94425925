package fetch

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"

	"github.com/gantryrun/gantry/image"
	"github.com/gantryrun/gantry/image/order"
)

// peer runs another program, and returns what it printed.
func peer(t *testing.T, program string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, stderr.String())
	}
	return string(out)
}

func needPeer(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("skipped: %s is not installed: %v", program, err)
	}
}

// exported is an image of gzip and zstd layers, a layer twice, and its archive, compressed anew and as it came.
func exported(t *testing.T, keep bool) (*image.Image, string) {
	t.Helper()
	reg, c := newRegistry(t), newClient(t)
	plain := tarOf(t, "etc/b", numbered(100_000))
	ref := reg.push(t, "team/app:v1", newImage(t, gzLayer(t, "etc/a", "a"), newLayer(zst(t, plain), plain, types.OCILayerZStd), gzLayer(t, "etc/a", "a")))
	img, err := c.Fetch(t.Context(), ref, order.Options{KeepBlobs: keep})
	if err != nil {
		t.Fatal(err)
	}
	return img, export(t, c.Store, img)
}

// TestExportInspected: skopeo sees the layers and the platform in an archive of ours, and its own copy of it verifies.
func TestExportInspected(t *testing.T) {
	needPeer(t, "skopeo")
	for name, keep := range map[string]bool{"compressed anew": false, "as fetched": true} {
		t.Run(name, func(t *testing.T) {
			img, path := exported(t, keep)
			var seen struct {
				Architecture, Os string
				Layers           []string
				Digest           digest.Digest
			}
			if err := json.Unmarshal([]byte(peer(t, "skopeo", "inspect", "oci-archive:"+path)), &seen); err != nil {
				t.Fatal(err)
			}
			if seen.Architecture != "amd64" || seen.Os != "linux" || len(seen.Layers) != 3 || (seen.Digest == img.ID) != keep {
				t.Errorf("skopeo sees %+v", seen)
			}
			peer(t, "skopeo", "copy", "--insecure-policy", "oci-archive:"+path, "dir:"+filepath.Join(t.TempDir(), "copy"))
		})
	}
}

// TestExportLoaded: podman loads an archive of ours under the name that it had, with the layers that it had.
func TestExportLoaded(t *testing.T) {
	needPeer(t, "podman")
	for name, keep := range map[string]bool{"compressed anew": false, "as fetched": true} {
		t.Run(name, func(t *testing.T) {
			img, path := exported(t, keep)
			dir, err := os.MkdirTemp("", "podman") // podman wants it short
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := os.RemoveAll(dir); err != nil {
					t.Error(err)
				}
			})
			global := []string{"--root", dir + "/root", "--runroot", dir + "/run", "--tmpdir", dir + "/tmp",
				"--storage-driver", "vfs", "--events-backend", "none", "--cgroup-manager", "cgroupfs"}
			podman := func(args ...string) string { return peer(t, "podman", append(global, args...)...) }
			podman("load", "--quiet", "--input", path)
			var seen []struct {
				RepoTags []string
				RootFS   struct{ Layers []digest.Digest }
			}
			if err := json.Unmarshal([]byte(podman("image", "inspect", img.Names[0])), &seen); err != nil {
				t.Fatal(err)
			}
			if len(seen) != 1 || len(seen[0].RootFS.Layers) != 3 || seen[0].RootFS.Layers[1] != img.DiffIDs[1] {
				t.Errorf("podman sees %+v", seen)
			}
			id := strings.TrimSpace(podman("pull", "--quiet", "oci-archive:"+path))
			if config := img.Manifest.Config.Digest.Encoded(); id != config {
				t.Errorf("podman's ID is %s, the config's digest %s", id, config)
			}
			podman("rmi", "--all", "--force")
		})
	}
}

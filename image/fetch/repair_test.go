package fetch

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/gantryrun/gantry/image"
	"github.com/gantryrun/gantry/image/order"
)

// rot changes a byte in the middle of a file, in place: same inode, as a disk does it.
func rot(t *testing.T, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestRepair: whatever rots is whole again, in another file, by asking for no more than what rotted.
func TestRepair(t *testing.T) {
	for name, tc := range map[string]struct {
		rot   []string // below the store; of %L the first layer, %C the config, %T the tree
		blobs int      // asked for again
	}{
		"layer":              {[]string{"layers/%L/tar"}, 0}, // from the blob that was kept
		"layer is gone":      {[]string{"layers/%L"}, 0},
		"layer and blob":     {[]string{"layers/%L/tar", "blobs/sha256/%B"}, 1}, // the blob, and from it the layer
		"layer index":        {[]string{"layers/%L/index"}, 0},
		"layer and index":    {[]string{"layers/%L/tar", "layers/%L/index"}, 0},
		"merged index":       {[]string{"images/%T/index"}, 0},
		"manifest":           {[]string{"blobs/sha256/%I"}, 0},
		"config":             {[]string{"blobs/sha256/%C"}, 1},
		"kept blob":          {[]string{"blobs/sha256/%B"}, 1},
		"record and layer":   {[]string{"refs/images/%I", "layers/%L/tar"}, 0},
		"all that can break": {[]string{"blobs/sha256/%I", "blobs/sha256/%C", "layers/%L/tar", "layers/%L/index", "images/%T/index"}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			reg, c := newRegistry(t), newClient(t)
			plain := tarOf(t, "etc/b", numbered(100_000))
			ref := reg.push(t, "app:v1", newImage(t, newLayer(zst(t, plain), plain, types.OCILayerZStd), gzLayer(t, "etc/a", "a")))
			img, err := c.Fetch(t.Context(), ref, order.Options{KeepBlobs: true})
			if err != nil {
				t.Fatal(err)
			}
			reg.push(t, "app:v1", newImage(t, gzLayer(t, "other", "x"))) // a tag moves; what is repaired is what was had
			paths := strings.NewReplacer("%L", img.DiffIDs[0].Encoded(), "%C", img.Manifest.Config.Digest.Encoded(),
				"%T", img.ChainID.Encoded(), "%I", img.ID.Encoded(), "%B", img.Manifest.Layers[0].Digest.Encoded())
			if _, err := os.Stat(filepath.Join(c.Store.Dir(), paths.Replace("images/%T/fs"))); err == nil && strings.Contains(strings.Join(tc.rot, " "), "%T") {
				t.Skip("the directory backend, which this file system needs, has no merged index")
			}
			for _, r := range tc.rot {
				breakFile(t, filepath.Join(c.Store.Dir(), paths.Replace(r)), img)
			}
			reg.on(nil)
			stored, err := c.Store.Get(t.Context(), ref)
			if err != nil {
				t.Fatal(err)
			}
			problems, err := c.Store.Verify(t.Context(), stored)
			if err != nil || len(problems) == 0 {
				t.Fatalf("%v, %v", problems, err)
			}
			if err := c.Repair(t.Context(), stored, problems); err != nil {
				t.Fatal(err)
			}
			if n := reg.requests("/blobs/"); n != tc.blobs {
				t.Errorf("%d blobs were asked for, want %d", n, tc.blobs)
			}
			again, err := c.Store.Get(t.Context(), ref)
			if err != nil || again.ID != img.ID || again.ChainID != img.ChainID {
				t.Fatalf("%v, %v", again, err)
			}
			if problems, err := c.Store.Verify(t.Context(), again); err != nil || len(problems) > 0 {
				t.Errorf("after repair: %v, %v", problems, err)
			}
			if left, _ := filepath.Glob(c.Store.Dir() + "/*/.[nt]*"); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// breakFile flips a byte; a directory goes; a record keeps its form and says something else.
func breakFile(t *testing.T, path string, img *image.Image) {
	t.Helper()
	info, err := os.Stat(path)
	switch {
	case err != nil:
		t.Fatal(err)
	case info.IsDir():
		err = os.RemoveAll(path)
	case strings.Contains(path, "refs/images"):
		var data []byte
		if data, err = os.ReadFile(path); err == nil {
			err = os.WriteFile(path, []byte(strings.Replace(string(data), `"architecture":"amd64"`, `"architecture":"amd65"`, 1)), 0o600)
		}
	default:
		before, err := os.Open(path) // as a running pod has it
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			now, err := os.Stat(path)
			if old, _ := before.Stat(); err != nil || os.SameFile(now, old) {
				t.Errorf("%s of image %s was changed in place (%v)", path, img.ID, err)
			}
			before.Close()
		})
		rot(t, path)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestRepairInVain: nothing that is not what it should be comes in, and what was there stays.
func TestRepairInVain(t *testing.T) {
	reg, c := newRegistry(t), newClient(t)
	ref := reg.push(t, "app:v1", newImage(t, gzLayer(t, "etc/a", "a")))
	img, err := c.Fetch(t.Context(), ref, order.Options{})
	if err != nil {
		t.Fatal(err)
	}
	tar := filepath.Join(c.Store.Dir(), "layers", img.DiffIDs[0].Encoded(), "tar")
	rot(t, tar)
	problems, err := c.Store.Verify(t.Context(), img)
	if err != nil {
		t.Fatal(err)
	}
	reg.Close()
	if err := c.Repair(t.Context(), img, problems); !errors.Is(err, image.ErrUnreachable) {
		t.Errorf("no registry: %v", err)
	}
	img.Names = nil
	if err := c.Repair(t.Context(), img, problems); !errors.Is(err, image.ErrNotFound) {
		t.Errorf("no name: %v", err)
	}
	if _, err := os.Stat(tar); err != nil {
		t.Error(err)
	}
}

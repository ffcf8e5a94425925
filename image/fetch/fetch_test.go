package fetch

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/gantryrun/gantry/image"
	"github.com/gantryrun/gantry/image/order"
)

func TestFetchRegistry(t *testing.T) {
	reg := newRegistry(t)
	plain := tarOf(t, "etc/hostname", "plain\n")
	zipped := tarOf(t, "etc/passwd", "root:x:0:0::/:/bin/sh\n", "gone", "x")
	squeezed := tarOf(t, "etc/hostname", "zstd\n", ".wh.gone", "")
	ref := reg.push(t, "app:v1", newImage(t,
		newLayer(plain, plain, types.OCIUncompressedLayer),
		newLayer(gz(t, zipped), zipped, types.DockerLayer),
		newLayer(zst(t, squeezed), squeezed, types.OCILayerZStd)))
	for _, backend := range []image.Backend{image.Erofs, image.Dir} {
		t.Run(string(backend), func(t *testing.T) {
			store, err := image.Open(t.TempDir(), image.Options{Backend: backend, RunDir: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			c := &Client{Store: store}
			img, err := c.Fetch(t.Context(), ref, order.Options{})
			if err != nil {
				t.Fatal(err)
			}
			checkStored(t, store, img, ref)
			wantFile(t, store, img, "/etc/hostname", "zstd\n")
			wantFile(t, store, img, "/etc/passwd", "root:x:0:0::/:/bin/sh\n")
			if _, err := readFile(t, store, img, "/gone"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("whiteout did not remove /gone: %v", err)
			}
		})
	}
}

// checkStored: the layers are what their names say, and the image is there by name and by ID.
func checkStored(t *testing.T, store *image.Store, img *image.Image, ref image.Ref) {
	t.Helper()
	tars, err := filepath.Glob(filepath.Join(store.Dir(), "layers", "*", "tar"))
	if err != nil || len(tars) != len(img.DiffIDs) {
		t.Fatalf("%d layers stored, %d expected: %v", len(tars), len(img.DiffIDs), err)
	}
	for _, path := range tars {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != filepath.Base(filepath.Dir(path)) {
			t.Errorf("%s has another digest", path)
		}
	}
	byName, err := store.Get(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(img, byName); diff != "" {
		t.Errorf("Get differs from Fetch:\n%s", diff)
	}
	if _, err := store.Get(t.Context(), mustRef(t, img.ID.String()[:20])); err != nil {
		t.Error(err)
	}
}

// readFile reads a file of the image as it is unpacked.
func readFile(t *testing.T, store *image.Store, img *image.Image, name string) ([]byte, error) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "image")
	if err := store.Extract(t.Context(), img, dir); err != nil {
		return nil, err
	}
	return os.ReadFile(filepath.Join(dir, name))
}

func wantFile(t *testing.T, store *image.Store, img *image.Image, name, want string) {
	t.Helper()
	got, err := readFile(t, store, img, name)
	if err != nil || string(got) != want {
		t.Errorf("%s is %q, %v: want %q", name, got, err, want)
	}
}

func TestFetchAgain(t *testing.T) {
	reg, c := newRegistry(t), newClient(t)
	ref := reg.push(t, "app:v1", newImage(t, gzLayer(t, "a", "a"), gzLayer(t, "b", "b")))
	first, err := c.Fetch(t.Context(), ref, order.Options{})
	if err != nil {
		t.Fatal(err)
	}
	reg.on(nil)
	second, err := c.Fetch(t.Context(), ref, order.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if first.ID != second.ID || reg.requests("/blobs/") != 0 || reg.requests("/manifests/") != 1 {
		t.Errorf("second fetch: %d blobs, %d manifests asked for", reg.requests("/blobs/"), reg.requests("/manifests/"))
	}
	other := reg.push(t, "app:v2", newImage(t, gzLayer(t, "a", "a"), gzLayer(t, "c", "c")))
	reg.on(nil)
	if _, err = c.Fetch(t.Context(), other, order.Options{}); err != nil {
		t.Fatal(err)
	}
	if n := reg.requests("/blobs/"); n != 2 {
		t.Errorf("shared layer: %d blobs asked for, want config and one layer", n)
	}
}

func TestFetchIndex(t *testing.T) {
	reg, c := newRegistry(t), newClient(t)
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	want := map[string]string{}
	for _, p := range []v1.Platform{
		{OS: "linux", Architecture: "arm64", Variant: "v8"}, {OS: "linux", Architecture: "amd64"},
		{OS: "linux", Architecture: "arm", Variant: "v6"}, {OS: "linux", Architecture: "arm", Variant: "v7"},
	} {
		img := platformImage(t, p, gzLayer(t, "platform", p.String()))
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &p}})
		hash, err := img.Digest()
		if err != nil {
			t.Fatal(err)
		}
		want[p.String()] = hash.String()
	}
	tag, err := name.NewTag(reg.host() + "/multi:v1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(tag, index); err != nil {
		t.Fatal(err)
	}
	for platform, entry := range map[string]string{
		"": "linux/amd64", "linux/arm64": "linux/arm64/v8", "linux/arm": "linux/arm/v7", "linux/arm/v6": "linux/arm/v6",
	} {
		img, err := c.Fetch(t.Context(), mustRef(t, tag.Name()), order.Options{Platform: platform})
		if err != nil || img.ID.String() != want[entry] {
			t.Errorf("platform %q: got %v, %v, want %s", platform, img, err, want[entry])
		}
	}
	_, err = c.Fetch(t.Context(), mustRef(t, tag.Name()), order.Options{Platform: "linux/s390x"})
	if !errors.Is(err, image.ErrPlatform) || !strings.Contains(err.Error(), "linux/arm64/v8") {
		t.Errorf("platform that is not offered: %v", err)
	}
}

func TestFetchErrors(t *testing.T) {
	reg, c := newRegistry(t), newClient(t)
	arm := reg.push(t, "arm:v1", platformImage(t, v1.Platform{OS: "linux", Architecture: "arm64"}, gzLayer(t, "a", "a")))
	down := newRegistry(t)
	down.Close()
	for name, tc := range map[string]struct {
		ref  image.Ref
		want error
	}{
		"other platform":  {arm, image.ErrPlatform},
		"unknown image":   {mustRef(t, reg.host()+"/nothing:v1"), image.ErrNotFound},
		"registry down":   {mustRef(t, down.host()+"/app:v1"), image.ErrUnreachable},
		"ID":              {mustRef(t, "sha256:0123456789"), image.ErrNotFound},
		"no such file":    {mustRef(t, "/nowhere/at/all"), image.ErrNotFound},
		"no such layout":  {mustRef(t, "oci:/nowhere"), image.ErrNotFound},
		"no such archive": {mustRef(t, "docker-archive:/nowhere"), image.ErrNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.Fetch(t.Context(), tc.ref, order.Options{})
			if !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("error of more than one line: %v", err)
			}
		})
	}
	wantEmpty(t, c.Store)
}

// wantEmpty: nothing is listed, and nothing is left once GC has been.
func wantEmpty(t *testing.T, store *image.Store) {
	t.Helper()
	images, err := store.List(t.Context())
	if err != nil || len(images) != 0 {
		t.Errorf("store lists %v, %v", images, err)
	}
	if _, err := store.GC(t.Context(), image.GCOptions{}); err != nil {
		t.Error(err)
	}
	err = filepath.WalkDir(store.Dir(), func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() && e.Name() != ".lock" {
			t.Errorf("left behind: %s", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestFetchAtOnce(t *testing.T) {
	reg, store := newRegistry(t), newStore(t)
	img := newImage(t, gzLayer(t, "a", numbered(3<<20)), gzLayer(t, "b", numbered(2<<20)))
	ref := reg.push(t, "app:v1", img)
	reg.on(nil)
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		wg.Go(func() { _, errs[i] = (&Client{Store: store}).Fetch(t.Context(), ref, order.Options{}) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	var size int64
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range layers {
		n, err := l.Size()
		if err != nil {
			t.Fatal(err)
		}
		size += n
	}
	if limit := size + 100<<10; reg.sent > limit {
		t.Errorf("%d bytes served to 8 fetchers of one image of %d", reg.sent, size)
	}
}

func TestFetchCancelled(t *testing.T) {
	reg, c := newRegistry(t), newClient(t)
	ref := reg.push(t, "app:v1", newImage(t, gzLayer(t, "a", numbered(8<<20)), gzLayer(t, "b", numbered(8<<20))))
	ctx, cancel := context.WithCancel(t.Context())
	c.Progress = func(e order.Event) {
		if e.Done > 1<<20 {
			cancel()
		}
	}
	if _, err := c.Fetch(ctx, ref, order.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	wantEmpty(t, c.Store)
	if _, err := (&Client{Store: c.Store}).Fetch(t.Context(), ref, order.Options{}); err != nil {
		t.Errorf("fetch after a cancelled one: %v", err)
	}
}

func TestProgress(t *testing.T) {
	reg, c := newRegistry(t), newClient(t)
	ref := reg.push(t, "app:v1", newImage(t, gzLayer(t, "a", numbered(1<<20))))
	var mu sync.Mutex
	var steps bytes.Buffer
	c.Progress = func(e order.Event) {
		mu.Lock()
		defer mu.Unlock()
		if e.Status == "done" && e.Done != e.Total {
			t.Errorf("done at %d of %d", e.Done, e.Total)
		}
		if !strings.HasSuffix(steps.String(), e.Status+" ") {
			steps.WriteString(e.Status + " ")
		}
	}
	if _, err := c.Fetch(t.Context(), ref, order.Options{}); err != nil {
		t.Fatal(err)
	}
	if got, want := steps.String(), "resolving downloading done committing "; got != want {
		t.Errorf("steps %q, want %q", got, want)
	}
}

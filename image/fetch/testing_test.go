package fetch

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"

	"github.com/gantryrun/gantry/image"
)

// faultRegistry is ggcr's registry in process, behind a handler that a test may have misbehave.
type faultRegistry struct {
	*httptest.Server
	inner http.Handler
	mu    sync.Mutex
	fault func(w http.ResponseWriter, r *http.Request) bool // true: answered
	seen  []*http.Request
	sent  int64 // bytes of bodies
}

func newRegistry(t testing.TB) *faultRegistry {
	t.Helper()
	f := &faultRegistry{inner: registry.New(registry.Logger(log.New(io.Discard, "", 0)))}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

func (f *faultRegistry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.seen = append(f.seen, r)
	fault := f.fault
	f.mu.Unlock()
	if fault == nil || !fault(w, r) {
		f.inner.ServeHTTP(&countingWriter{w, f}, r)
	}
}

// on sets what goes wrong from now on, and forgets what was.
func (f *faultRegistry) on(fault func(w http.ResponseWriter, r *http.Request) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault, f.seen, f.sent = fault, nil, 0
}

func (f *faultRegistry) requests(part string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.seen {
		if strings.Contains(r.URL.Path, part) {
			n++
		}
	}
	return n
}

func (f *faultRegistry) host() string { return strings.TrimPrefix(f.URL, "http://") }

type countingWriter struct {
	http.ResponseWriter
	f *faultRegistry
}

func (c *countingWriter) Write(p []byte) (int, error) {
	c.f.mu.Lock()
	c.f.sent += int64(len(p))
	c.f.mu.Unlock()
	return c.ResponseWriter.Write(p)
}

// push puts an image into the registry and returns how gantry calls it.
func (f *faultRegistry) push(t testing.TB, repository string, img v1.Image) image.Ref {
	t.Helper()
	tag, err := name.NewTag(f.host() + "/" + repository)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(tag, img); err != nil {
		t.Fatal(err)
	}
	return mustRef(t, tag.Name())
}

func mustRef(t testing.TB, s string) image.Ref {
	t.Helper()
	ref, err := image.ParseRef(s)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// tarOf makes a layer of files: name, content, name, content...
func tarOf(t testing.TB, files ...string) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for i := 0; i < len(files); i += 2 {
		h := &tar.Header{Name: files[i], Mode: 0o644, Size: int64(len(files[i+1])), Typeflag: tar.TypeReg}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, files[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func gz(t testing.TB, data []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func zst(t testing.TB, data []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(data, nil)
}

// testLayer is a layer whose digest, diffID and bytes need not fit together.
type testLayer struct {
	v1.Layer
	diffID v1.Hash
}

func (l testLayer) DiffID() (v1.Hash, error) { return l.diffID, nil }

func newLayer(blob, plain []byte, mediaType types.MediaType) v1.Layer {
	diffID := digest.FromBytes(plain)
	return testLayer{static.NewLayer(blob, mediaType), v1.Hash{Algorithm: "sha256", Hex: diffID.Encoded()}}
}

func gzLayer(t testing.TB, files ...string) v1.Layer {
	plain := tarOf(t, files...)
	return newLayer(gz(t, plain), plain, types.OCILayer)
}

// newImage makes an OCI image for this platform.
func newImage(t testing.TB, layers ...v1.Layer) v1.Image {
	t.Helper()
	return platformImage(t, v1.Platform{OS: "linux", Architecture: "amd64"}, layers...)
}

func platformImage(t testing.TB, p v1.Platform, layers ...v1.Layer) v1.Image {
	t.Helper()
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err := mutate.AppendLayers(img, layers...)
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Variant = p.OS, p.Architecture, p.Variant
	if img, err = mutate.ConfigFile(img, config); err != nil {
		t.Fatal(err)
	}
	return img
}

func newStore(t testing.TB) *image.Store {
	t.Helper()
	s, err := image.Open(t.TempDir(), image.Options{RunDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newClient(t testing.TB) *Client { return &Client{Store: newStore(t)} }

// numbered gives n bytes that compress badly.
func numbered(n int) string {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "%x", digest.FromString(fmt.Sprint(i)).Encoded())
	}
	return b.String()[:n]
}

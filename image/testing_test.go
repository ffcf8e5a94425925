package image

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/image/layer"
)

func newStore(t testing.TB, backend Backend) *Store {
	t.Helper()
	s, err := Open(t.TempDir(), Options{Backend: backend, RunDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // tests that mount do so in a namespace of their own, but TempDir cannot remove a mount point
		points, _ := filepath.Glob(filepath.Join(s.mountsDir(), "*"))
		for _, point := range append(points, s.dir) {
			_ = unix.Unmount(point, unix.MNT_DETACH)
		}
	})
	return s
}

// tarOf makes a layer of regular files: name, content, name, content...
func tarOf(t testing.TB, files ...string) []byte {
	t.Helper()
	var headers []*tar.Header
	var contents []string
	for i := 0; i < len(files); i += 2 {
		headers = append(headers, &tar.Header{Name: files[i], Mode: 0o644, Size: int64(len(files[i+1])), Typeflag: tar.TypeReg})
		contents = append(contents, files[i+1])
	}
	return tarHeaders(t, headers, contents)
}

func tarHeaders(t testing.TB, headers []*tar.Header, contents []string) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for i, h := range headers {
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, contents[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// addLayer puts a tar into the store.
func addLayer(t testing.TB, s *Store, data []byte) digest.Digest {
	t.Helper()
	id := digest.FromBytes(data)
	stage, err := s.StageLayer(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if stage == nil {
		return id
	}
	defer stage.Abort() // after Commit nothing is left to do
	if err := stage.Fill(bytes.NewReader(data), layer.Limits{}); err != nil {
		t.Fatal(err)
	}
	if err := stage.Commit(); err != nil {
		t.Fatal(err)
	}
	return id
}

// draftOf describes an image of layers that are in the store.
func draftOf(t testing.TB, name string, env string, diffIDs ...digest.Digest) Draft {
	t.Helper()
	config := marshal(t, ocispec.Image{
		Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"},
		Config:   ocispec.ImageConfig{Env: []string{"E=" + env}},
		RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: diffIDs},
	})
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: ocispec.Descriptor{
			MediaType: ocispec.MediaTypeImageConfig, Digest: digest.FromBytes(config), Size: int64(len(config)),
		},
	}
	for _, d := range diffIDs {
		m.Layers = append(m.Layers, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: d, Size: 1})
	}
	return Draft{Manifest: marshal(t, m), Config: config, Name: name, Source: "test", Verified: "digest"}
}

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// addImage puts an image of the given tars into the store.
func addImage(t testing.TB, s *Store, name string, tars ...[]byte) *Image {
	t.Helper()
	var ids []digest.Digest
	for _, data := range tars {
		ids = append(ids, addLayer(t, s, data))
	}
	img, err := s.Commit(t.Context(), draftOf(t, name, name, ids...))
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func mustRef(t testing.TB, s string) Ref {
	t.Helper()
	ref, err := ParseRef(s)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// contents lists the store's files, but for lock files.
func contents(t testing.TB, s *Store) (list []string) {
	t.Helper()
	err := filepath.WalkDir(s.Dir(), func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() && e.Name() != ".lock" {
			rel, _ := filepath.Rel(s.Dir(), path)
			list = append(list, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func digestOf(data []byte) digest.Digest { return digest.FromBytes(data) }

func fill(stage *LayerStage, data []byte) error {
	return stage.Fill(bytes.NewReader(data), layer.Limits{})
}

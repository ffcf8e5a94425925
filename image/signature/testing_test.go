package signature

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantryrun/gantry/image"
	"github.com/gantryrun/gantry/image/trust"
)

// repo is a repository in memory: manifests by tag and digest, blobs. It speaks for what a registry would hold.
type repo struct {
	manifests map[string][]byte
	blobs     map[digest.Digest][]byte
	asked     int
}

func newRepo() *repo {
	return &repo{manifests: map[string][]byte{}, blobs: map[digest.Digest][]byte{}}
}

func (r *repo) Manifest(_ context.Context, id string) ([]byte, error) {
	r.asked++
	if raw, ok := r.manifests[id]; ok {
		return raw, nil
	}
	return nil, image.ErrNotFound
}

// Referrers reads the fallback tag of the distribution specification.
func (r *repo) Referrers(_ context.Context, subject digest.Digest) ([]ocispec.Descriptor, error) {
	raw, ok := r.manifests["sha256-"+subject.Encoded()]
	if !ok {
		return nil, nil
	}
	var index ocispec.Index
	err := json.Unmarshal(raw, &index)
	return index.Manifests, err
}

func (r *repo) Blob(_ context.Context, desc ocispec.Descriptor, limit int64) ([]byte, error) {
	r.asked++
	data, ok := r.blobs[desc.Digest]
	if !ok {
		return nil, image.ErrNotFound
	}
	if int64(len(data)) > limit {
		return nil, errors.New("too large")
	}
	return data, nil
}

// clone for a test that breaks it.
func (r *repo) clone() *repo {
	return &repo{manifests: maps.Clone(r.manifests), blobs: maps.Clone(r.blobs)}
}

// putBlob and putManifest store under the digest, and a tag.
func (r *repo) putBlob(data []byte) digest.Digest {
	d := digest.FromBytes(data)
	r.blobs[d] = data
	return d
}

func (r *repo) putManifest(t testing.TB, tag string, m any) ocispec.Descriptor {
	t.Helper()
	raw := mustJSON(t, m)
	d := digest.FromBytes(raw)
	r.manifests[d.String()], r.manifests[tag] = raw, raw
	return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: d, Size: int64(len(raw))}
}

func mustJSON(t testing.TB, v any) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// fixtures are the repositories of testdata/cosign by name, and where their tags lead.
func fixtures(t testing.TB) (repos map[string]*repo, tags map[string]digest.Digest) {
	t.Helper()
	const dir = "testdata/cosign/layout"
	read := func(d digest.Digest) []byte {
		data, err := os.ReadFile(filepath.Join(dir, "blobs", "sha256", d.Encoded()))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		return data
	}
	raw, err := os.ReadFile(dir + "/index.json")
	if err != nil {
		t.Fatal(err)
	}
	var index ocispec.Index
	if err := json.Unmarshal(raw, &index); err != nil {
		t.Fatal(err)
	}
	blobs := map[digest.Digest][]byte{}
	manifests := map[string][]byte{}
	files, err := os.ReadDir(dir + "/blobs/sha256")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		d := digest.NewDigestFromEncoded(digest.SHA256, f.Name())
		blobs[d], manifests[d.String()] = read(d), read(d)
	}
	repos, tags = map[string]*repo{}, map[string]digest.Digest{}
	for _, desc := range index.Manifests {
		name := desc.Annotations[ocispec.AnnotationRefName]
		repository, tag, _ := strings.Cut(name, ":")
		if repos[repository] == nil {
			repos[repository] = &repo{manifests: maps.Clone(manifests), blobs: blobs}
		}
		repos[repository].manifests[tag] = read(desc.Digest)
		tags[name] = desc.Digest
	}
	return repos, tags
}

// trusting adds keys to a new configuration directory and loads it.
func trusting(t testing.TB, prefix string, keys ...*Key) *trust.Policy {
	t.Helper()
	dir := t.TempDir()
	for _, k := range keys {
		if _, err := trust.Add(dir, prefix, k.Key); err != nil {
			t.Fatal(err)
		}
	}
	p, err := trust.Load([]string{dir})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func keyFile(t testing.TB, path string) *Key {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	k, err := ParseKey(data)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

package image

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "write testdata/store-v1.txtar anew; only before its first release")

// TestGoldenStore: records of every released version stay readable. testdata/store-v1.txtar is what version 1 wrote.
func TestGoldenStore(t *testing.T) {
	golden := filepath.Join("testdata", "store-v1.txtar")
	const name = "docker.io/library/golden:latest"
	if *update {
		writeGolden(t, golden, name)
	}
	archive, err := txtar.ParseFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := txtar.Write(archive, dir); err != nil {
		t.Fatal(err)
	}
	s, err := Open(dir, Options{Backend: Dir})
	if err != nil {
		t.Fatal(err)
	}
	img, err := s.Get(t.Context(), mustRef(t, name))
	if err != nil {
		t.Fatal(err)
	}
	layer := digest.FromString("a layer")
	got := []any{img.Names, img.Config.Config.Env, img.DiffIDs, img.ChainID, img.Size, img.Fetched.Year(), img.Source, img.Verified, img.Manifest.Layers[0].Digest}
	want := []any{[]string{name}, []string{"E=golden"}, []digest.Digest{layer}, layer, int64(5), 2026, "test", "digest", layer}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if list, err := s.List(t.Context()); err != nil || len(list) != 1 {
		t.Errorf("%v, %v", list, err)
	}
}

func writeGolden(t *testing.T, golden, name string) {
	t.Helper()
	s, err := Open(t.TempDir(), Options{Backend: Dir})
	if err != nil {
		t.Fatal(err)
	}
	layer := digest.FromString("a layer")
	d := draftOf(t, name, "golden", layer)
	rec, err := d.record()
	if err != nil {
		t.Fatal(err)
	}
	rec.Size, rec.Fetched = 5, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	image, err := encodeRecord(s.recordPath(rec.ID), rec)
	if err != nil {
		t.Fatal(err)
	}
	leads, err := encodeRecord(s.namePath(name), nameRecord{
		Version: recordVersion, Name: name, ID: rec.ID, Fetched: rec.Fetched, Source: d.Source, Verified: d.Verified,
	})
	if err != nil {
		t.Fatal(err)
	}
	archive := &txtar.Archive{Files: []txtar.File{file(s, image), file(s, leads)}}
	if err := os.WriteFile(golden, txtar.Format(archive), 0o644); err != nil {
		t.Fatal(err)
	}
}

func file(s *Store, f newFile) txtar.File {
	rel, _ := filepath.Rel(s.Dir(), f.path)
	return txtar.File{Name: rel, Data: f.data}
}

package image

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
)

// flip changes one byte in the middle of a file.
func flip(t *testing.T, path string) {
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

func TestVerify(t *testing.T) {
	for name, damage := range map[string]func(s *Store, img *Image) string{
		"whole":        func(*Store, *Image) string { return "" },
		"layer":        func(s *Store, img *Image) string { return filepath.Join(s.layerDir(img.DiffIDs[1]), "tar") },
		"layer index":  func(s *Store, img *Image) string { return filepath.Join(s.layerDir(img.DiffIDs[0]), "index") },
		"merged index": func(s *Store, img *Image) string { return filepath.Join(s.treeDir(img.ChainID), "index") },
		"manifest":     func(s *Store, img *Image) string { return s.blobPath(img.ID) },
		"config":       func(s *Store, img *Image) string { return s.blobPath(img.Manifest.Config.Digest) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t, Erofs)
			img := addImage(t, s, "docker.io/library/app:latest", tarOf(t, "a", strings.Repeat("a", 5000)), tarOf(t, "b", "b"))
			path := damage(s, img)
			var want []string
			if path != "" {
				flip(t, path)
				want = []string{path}
			}
			problems, err := s.Verify(t.Context(), img)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, p := range problems {
				got = append(got, p.Path)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%v\n%s", problems, diff)
			}
			if left, _ := filepath.Glob(filepath.Join(s.imagesDir(), ".new-*")); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestVerifyRecord(t *testing.T) {
	s := newStore(t, Erofs)
	img := addImage(t, s, "docker.io/library/app:latest", tarOf(t, "a", "a"))
	img.Config.Config.User = "root"
	problems, err := s.Verify(t.Context(), img)
	if err != nil || len(problems) != 1 || problems[0].Path != s.recordPath(img.ID) {
		t.Errorf("%v, %v", problems, err)
	}
}

func TestUsages(t *testing.T) {
	s := newStore(t, Erofs)
	shared, own := tarOf(t, "shared", "x"), tarOf(t, "a", strings.Repeat("x", 10_000))
	a := addImage(t, s, "docker.io/library/a:latest", shared, own, own)
	b := addImage(t, s, "docker.io/library/b:latest", shared)
	all, err := s.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := s.Usages(all)
	want := map[digest.Digest]Usage{
		a.ID: {Unique: int64(len(own)), Shared: int64(len(shared))}, b.ID: {Shared: int64(len(shared))},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestExtract(t *testing.T) {
	s := newStore(t, Erofs)
	img := addImage(t, s, "docker.io/library/a:latest", tarOf(t, "etc/a", "1"), tarOf(t, "etc/a", "2"))
	dir := filepath.Join(t.TempDir(), "out")
	if err := s.Extract(t.Context(), img, dir); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(filepath.Join(dir, "etc/a")); err != nil || string(data) != "2" {
		t.Errorf("%q, %v", data, err)
	}
	if err := s.Extract(t.Context(), img, dir); err == nil {
		t.Error("extracted over what is there")
	}
}

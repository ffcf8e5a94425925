package image

import (
	"fmt"
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
		"whole":         func(*Store, *Image) string { return "" },
		"layer":         func(s *Store, img *Image) string { return filepath.Join(s.layerDir(img.DiffIDs[1]), "tar") },
		"layer index":   func(s *Store, img *Image) string { return filepath.Join(s.layerDir(img.DiffIDs[0]), "index") },
		"merged index":  func(s *Store, img *Image) string { return filepath.Join(s.treeDir(img.ChainID), treeIndex) },
		"unpacked tree": func(s *Store, img *Image) string { return filepath.Join(s.treeDir(img.ChainID), treeFS, "a") },
		"manifest":      func(s *Store, img *Image) string { return s.blobPath(img.ID) },
		"config":        func(s *Store, img *Image) string { return s.blobPath(img.Manifest.Config.Digest) },
	} {
		for _, backend := range []Backend{Erofs, Dir} {
			t.Run(name+", "+string(backend), func(t *testing.T) {
				s := newStore(t, backend)
				tars := [][]byte{tarOf(t, "a", strings.Repeat("a", 5000)), tarOf(t, "b", "b")}
				img := addImage(t, s, "docker.io/library/app:latest", tars...)
				path := damage(s, img)
				if there, _ := exists(path); path != "" && !there {
					return // of the other backend
				}
				var want []string
				if path != "" {
					flip(t, path)
					want = []string{strings.TrimSuffix(path, "/a")}
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
				if name == "manifest" || name == "config" {
					return // package fetch repairs those
				}
				from := backup{img.DiffIDs[0]: tars[0], img.DiffIDs[1]: tars[1]}
				if err := s.Repair(t.Context(), img, problems, from); err != nil {
					t.Fatal(err)
				}
				if problems, err := s.Verify(t.Context(), img); err != nil || len(problems) > 0 {
					t.Errorf("repaired, and then %v, %v", problems, err)
				}
			})
		}
	}
}

// TestRepairUnpacked: whoever stands on an unpacked tree keeps it when it is replaced, and GC takes it when nobody does.
func TestRepairUnpacked(t *testing.T) {
	s := newStore(t, Dir)
	img := addImage(t, s, "docker.io/library/app:latest", tarOf(t, "a", "a", "b", "b"))
	lower, err := s.Lower(t.Context(), img)
	if err != nil {
		t.Fatal(err)
	}
	standing, err := os.OpenRoot(lower[0])
	if err != nil {
		t.Fatal(err)
	}
	defer standing.Close()
	flip(t, filepath.Join(lower[0], "a"))
	problems, err := s.Verify(t.Context(), img)
	if err != nil || len(problems) != 1 || problems[0].Part != PartUnpacked || !strings.Contains(problems[0].What, `"/a"`) {
		t.Fatalf("%v, %v", problems, err)
	}
	if err := s.Repair(t.Context(), img, problems, backup{}); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(filepath.Join(lower[0], "a")); string(data) != "a" || err != nil {
		t.Errorf("repaired: %q, %v", data, err)
	}
	old := filepath.Join(s.treeDir(img.ChainID), trashPrefix+"*")
	for _, c := range []struct {
		inUse bool
		left  int
	}{{true, 1}, {false, 0}} {
		_, err := s.GC(t.Context(), GCOptions{InUse: func() (map[string]bool, error) {
			return map[string]bool{img.ChainID.String(): c.inUse}, nil
		}})
		if left, _ := filepath.Glob(old); err != nil || len(left) != c.left {
			t.Errorf("gc, in use %v: %q, %v", c.inUse, left, err)
		}
		if data, err := standing.ReadFile("b"); c.inUse && (string(data) != "b" || err != nil) {
			t.Errorf("standing on the old tree: %q, %v", data, err)
		}
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

// TestVerifyEmpty: what documents say of nothing (docker writes "Labels": {}) is no difference to a record that leaves it out.
func TestVerifyEmpty(t *testing.T) {
	s := newStore(t, Auto)
	d := draftOf(t, "docker.io/library/app:latest", "x", addLayer(t, s, tarOf(t, "a", "a")))
	config := strings.Replace(string(d.Config), `"Env":["E=x"]`, `"Env":[],"Labels":{},"Volumes":{},"ExposedPorts":{}`, 1)
	d.Manifest = []byte(strings.NewReplacer(
		digest.FromBytes(d.Config).String(), digest.FromString(config).String(), fmt.Sprintf(`"size":%d`, len(d.Config)), fmt.Sprintf(`"size":%d`, len(config)),
		`"schemaVersion":2`, `"schemaVersion":2,"annotations":{}`,
	).Replace(string(d.Manifest)))
	d.Config = []byte(config)
	img, err := s.Commit(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	if problems, err := s.Verify(t.Context(), img); err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
}

package image

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/gantryrun/gantry/image/layer"
)

func TestGet(t *testing.T) {
	s := newStore(t, Erofs)
	if _, err := s.Get(t.Context(), mustRef(t, "app")); !errors.Is(err, ErrNotFound) {
		t.Errorf("from a store that does not exist: %v", err)
	}
	img := addImage(t, s, "docker.io/library/app:latest", tarOf(t, "a", "a"))
	other := addImage(t, s, "docker.io/library/app:other", tarOf(t, "a", "a"))
	for name, tc := range map[string]struct {
		ref  string
		want *Image
		err  error
	}{
		"name":          {"app", img, nil},
		"ID":            {img.ID.String(), img, nil},
		"prefix":        {img.ID.String()[:15], img, nil},
		"other tag":     {"app:other", other, nil},
		"unknown name":  {"nothing", nil, ErrNotFound},
		"unknown ID":    {"sha256:0123456789", nil, ErrNotFound},
		"other hash":    {"sha512-0123456789", nil, ErrNotFound},
		"ID, not there": {digest.FromString("x").String(), nil, ErrNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := s.Get(t.Context(), mustRef(t, tc.ref))
			if !errors.Is(err, tc.err) {
				t.Fatalf("got %v, want %v", err, tc.err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAmbiguousID(t *testing.T) {
	s := newStore(t, Erofs)
	img := addImage(t, s, "docker.io/library/app:latest", tarOf(t, "a", "a"))
	twin := s.recordPath(img.ID)
	twin = twin[:len(twin)-1] + map[bool]string{true: "1", false: "0"}[twin[len(twin)-1] == '0']
	if err := os.WriteFile(twin, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), mustRef(t, img.ID.String()[:20])); !errors.Is(err, ErrAmbiguous) {
		t.Errorf("got %v", err)
	}
}

func TestListSurvivesBrokenRecords(t *testing.T) {
	for name, damage := range map[string]func(path string) error{
		"empty":     func(p string) error { return os.Truncate(p, 0) },
		"garbage":   func(p string) error { return os.WriteFile(p, bytes.Repeat([]byte("x"), 1<<20), 0o600) },
		"unknown":   func(p string) error { return os.WriteFile(p, []byte(`{"version":1,"new":1}`), 0o600) },
		"version":   func(p string) error { return os.WriteFile(p, []byte(`{"version":2}`), 0o600) },
		"directory": func(p string) error { return errors.Join(os.Remove(p), os.Mkdir(p, 0o700)) },
	} {
		for _, kind := range []string{"image", "name"} {
			t.Run(kind+" "+name, func(t *testing.T) {
				s := newStore(t, Erofs)
				bad := addImage(t, s, "docker.io/library/bad:latest", tarOf(t, "a", "a"))
				good := addImage(t, s, "docker.io/library/good:latest", tarOf(t, "b", "b"))
				path := s.recordPath(bad.ID)
				if kind == "name" {
					path = s.namePath(bad.Names[0])
				}
				if err := damage(path); err != nil {
					t.Fatal(err)
				}
				list, err := s.List(t.Context())
				if err == nil || !strings.Contains(err.Error(), path) {
					t.Errorf("error does not name %s: %v", path, err)
				}
				found := false
				for _, img := range list {
					found = found || img.ID == good.ID
				}
				if !found {
					t.Errorf("the good image is hidden: %v", list)
				}
				if _, err := s.Get(t.Context(), mustRef(t, "good")); err != nil {
					t.Error(err)
				}
				if _, err := s.Get(t.Context(), mustRef(t, "bad")); !errors.Is(err, ErrCorrupt) {
					t.Errorf("broken image: %v", err)
				}
			})
		}
	}
}

func TestCommitRefuses(t *testing.T) {
	s := newStore(t, Erofs)
	id := addLayer(t, s, tarOf(t, "a", "a"))
	whole := draftOf(t, "docker.io/library/app:latest", "e", id)
	for name, change := range map[string]func(d *Draft){
		"no name":       func(d *Draft) { d.Name = "" },
		"other config":  func(d *Draft) { d.Config = append(bytes.Clone(d.Config), ' ') },
		"manifest":      func(d *Draft) { d.Manifest = []byte("{") },
		"layer missing": func(d *Draft) { *d = draftOf(t, "x", "e", digest.FromString("nowhere")) },
		"bad diffID":    func(d *Draft) { *d = draftOf(t, "x", "e", "sha256:../../x") },
	} {
		t.Run(name, func(t *testing.T) {
			d := whole
			change(&d)
			if img, err := s.Commit(t.Context(), d); err == nil {
				t.Errorf("committed %v", img)
			}
			if list, err := s.List(t.Context()); err != nil || len(list) != 0 {
				t.Errorf("listed: %v, %v", list, err)
			}
		})
	}
}

func TestStageTakeover(t *testing.T) {
	s := newStore(t, Erofs)
	data := tarOf(t, "a", "a")
	id := digest.FromBytes(data)
	first, err := s.StageLayer(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := first.tar.WriteString("half a layer"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := s.StageLayer(ctx, id); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a second maker did not wait: %v", err)
	}
	done := make(chan error)
	go func() {
		second, err := s.StageLayer(t.Context(), id)
		if err == nil {
			err = errors.Join(second.Fill(bytes.NewReader(data), layer.Limits{}), second.Commit(), second.Abort())
		}
		done <- err
	}()
	first.stage.lock.Close() // as when its process dies: the directory stays, the lock goes
	if err := <-done; err != nil {
		t.Fatalf("take over: %v", err)
	}
	if third, err := s.StageLayer(t.Context(), id); third != nil || err != nil {
		t.Errorf("layer is there, but can be staged: %v, %v", third, err)
	}
}

func TestFillRefuses(t *testing.T) {
	s := newStore(t, Erofs)
	id := digest.FromString("something else")
	stage, err := s.StageLayer(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if err := stage.Fill(bytes.NewReader(tarOf(t, "a", "a")), layer.Limits{}); err == nil || !strings.Contains(err.Error(), id.String()) {
		t.Errorf("wrong diffID: %v", err)
	}
	if err := stage.Commit(); err == nil {
		t.Error("committed what was not filled")
	}
	if err := stage.Abort(); err != nil {
		t.Error(err)
	}
	if left := contents(t, s); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestStoreIsPrivate(t *testing.T) {
	s := newStore(t, Dir)
	addImage(t, s, "docker.io/library/app:latest", tarOf(t, "a", "a"))
	for _, dir := range []string{"layers", "images", "blobs", "refs"} {
		info, err := os.Stat(filepath.Join(s.Dir(), dir))
		if err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", dir, info.Mode(), err)
		}
	}
}

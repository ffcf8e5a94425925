package image

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
)

// keep makes the answer of a caller that has pods.
func keep(ids ...digest.Digest) func() (map[string]bool, error) {
	return func() (map[string]bool, error) {
		set := map[string]bool{}
		for _, id := range ids {
			set[id.String()] = true
		}
		return set, nil
	}
}

// age makes everything in the store look old.
func age(t *testing.T, s *Store, by time.Duration) {
	t.Helper()
	then := time.Now().Add(-by)
	err := filepath.WalkDir(s.Dir(), func(path string, _ os.DirEntry, err error) error {
		return errors.Join(err, os.Chtimes(path, then, then))
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestGC(t *testing.T) {
	const hour = time.Hour
	for name, tc := range map[string]struct {
		opts   func(a, b, orphan *Image) GCOptions
		remove bool // a's name
		age    time.Duration
		stays  string // of a, b, and orphan: an image without a name
		layers int
	}{
		"all have names":          {func(_, _, _ *Image) GCOptions { return GCOptions{} }, false, 0, "ab", 3},
		"nameless within grace":   {func(_, _, _ *Image) GCOptions { return GCOptions{Grace: hour} }, false, 0, "abo", 4},
		"nameless after grace":    {func(_, _, _ *Image) GCOptions { return GCOptions{Grace: hour} }, false, 2 * hour, "ab", 3},
		"nameless, kept by a pod": {func(_, _, o *Image) GCOptions { return GCOptions{Keep: keep(o.ID)} }, false, 0, "abo", 4},
		"removed":                 {func(_, _, _ *Image) GCOptions { return GCOptions{} }, true, 0, "b", 2},
		"removed, kept by a pod":  {func(a, _, _ *Image) GCOptions { return GCOptions{Keep: keep(a.ID)} }, true, 0, "ab", 3},
		"only the removed one":    {func(a, _, _ *Image) GCOptions { return GCOptions{Images: []string{a.ID.String()}, Grace: hour} }, true, 0, "bo", 3},
		"only one, it has a name": {func(a, _, _ *Image) GCOptions { return GCOptions{Images: []string{a.ID.String()}} }, false, 0, "abo", 4},
		"unused, within grace":    {func(_, _, _ *Image) GCOptions { return GCOptions{Unused: true, Grace: hour} }, false, 0, "abo", 4},
		"unused, after grace":     {func(_, _, _ *Image) GCOptions { return GCOptions{Unused: true, Grace: hour} }, false, 2 * hour, "", 0},
		"unused, one kept":        {func(_, b, _ *Image) GCOptions { return GCOptions{Unused: true, Keep: keep(b.ID)} }, false, 0, "b", 2},
		"size, nothing fits":      {func(_, _, _ *Image) GCOptions { return GCOptions{MaxSize: 1, Grace: hour} }, false, 0, "", 0},
		"size, everything fits":   {func(_, _, _ *Image) GCOptions { return GCOptions{MaxSize: 1 << 40, Grace: hour} }, false, 0, "abo", 4},
		"dry run":                 {func(_, _, _ *Image) GCOptions { return GCOptions{Unused: true, DryRun: true} }, false, 0, "abo", 4},
		"clock jumped back":       {func(_, _, _ *Image) GCOptions { return GCOptions{Unused: true, Grace: hour} }, false, -100 * hour, "abo", 4},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t, Erofs)
			shared := tarOf(t, "shared", "x")
			a := addImage(t, s, "docker.io/library/a:latest", shared, tarOf(t, "a", "a"))
			orphan := addImage(t, s, "docker.io/library/o:latest", shared, tarOf(t, "o", "o"))
			b := addImage(t, s, "docker.io/library/b:latest", shared, tarOf(t, "b", "b"))
			if _, err := s.Remove(t.Context(), mustRef(t, "o")); err != nil {
				t.Fatal(err)
			}
			if tc.remove {
				if removed, err := s.Remove(t.Context(), mustRef(t, a.ID.String())); err != nil || len(removed) != 1 {
					t.Fatal(removed, err)
				}
			}
			age(t, s, tc.age)
			before := contents(t, s)
			report, err := s.GC(t.Context(), tc.opts(a, b, orphan))
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			for i, img := range []*Image{a, b, orphan} {
				if _, err := s.readImage(img.ID); err == nil {
					got += "abo"[i : i+1]
				}
			}
			if got != tc.stays {
				t.Errorf("images %q stay, want %q; report %+v", got, tc.stays, report)
			}
			if layers, _ := filepath.Glob(filepath.Join(s.layersDir(), "*")); len(layers) != tc.layers {
				t.Errorf("%d layers stay, want %d: %+v", len(layers), tc.layers, report)
			}
			if name == "dry run" {
				if diff := cmp.Diff(before, contents(t, s)); diff != "" || len(report.Images) != 3 || len(report.Layers) != 4 {
					t.Errorf("dry run changed or hid something: %s %+v", diff, report)
				}
			}
			if tc.stays == "" {
				if left := contents(t, s); len(left) != 0 {
					t.Errorf("left behind: %v", left)
				}
			}
		})
	}
}

func TestGCSweepsWhatCrashesLeave(t *testing.T) {
	s := newStore(t, Erofs)
	img := addImage(t, s, "docker.io/library/app:latest", tarOf(t, "a", "a"))
	want := contents(t, s)
	live, err := s.StageLayer(t.Context(), digest.FromString("being fetched"))
	if err != nil {
		t.Fatal(err)
	}
	dead, err := s.StageLayer(t.Context(), digest.FromString("died"))
	if err != nil {
		t.Fatal(err)
	}
	dead.stage.lock.Close()
	for _, path := range []string{
		filepath.Join(s.imagesDir(), ".new-x-index", "index"), filepath.Join(s.layersDir(), ".trash-1", "tar"),
		filepath.Join(s.blobsDir(), ".tmp-1"), filepath.Join(s.namesDir(), ".tmp-1"), filepath.Join(s.recordsDir(), ".tmp-1"),
	} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	astray := draftOf(t, "docker.io/library/astray:latest", "e", img.DiffIDs...)
	if lost, err := s.Commit(t.Context(), astray); err != nil || os.Remove(s.recordPath(lost.ID)) != nil ||
		os.Remove(s.blobPath(lost.ID)) != nil || os.Remove(s.blobPath(lost.Manifest.Config.Digest)) != nil {
		t.Fatal(err)
	}
	report, err := s.GC(t.Context(), GCOptions{Grace: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if report.Staging != 3 {
		t.Errorf("report %+v", report)
	}
	var got []string
	for _, path := range contents(t, s) {
		if !strings.Contains(path, live.diffID.Encoded()) {
			got = append(got, path)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := os.Stat(live.stage.dir); err != nil {
		t.Errorf("a fetch was robbed: %v", err)
	}
	if err := live.Abort(); err != nil {
		t.Error(err)
	}
	if _, err := s.Get(t.Context(), mustRef(t, img.Names[0])); err != nil {
		t.Error(err)
	}
}

func TestGCWaitsForHolders(t *testing.T) {
	s := newStore(t, Erofs)
	addImage(t, s, "docker.io/library/app:latest", tarOf(t, "a", "a"))
	release, err := s.Hold()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := s.GC(t.Context(), GCOptions{Unused: true})
		done <- err
	}()
	select {
	case err := <-done:
		t.Fatalf("GC did not wait: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	if _, err := s.Get(t.Context(), mustRef(t, "app")); err != nil {
		t.Errorf("image went while held: %v", err)
	}
	release()
	if err := <-done; err != nil {
		t.Error(err)
	}
	release()
}

func TestGCIsCautious(t *testing.T) {
	s := newStore(t, Erofs)
	img := addImage(t, s, "docker.io/library/app:latest", tarOf(t, "a", "a"))
	boom := errors.New("cannot read pods")
	if _, err := s.GC(t.Context(), GCOptions{Unused: true, Keep: func() (map[string]bool, error) { return nil, boom }}); !errors.Is(err, boom) {
		t.Errorf("got %v", err)
	}
	if err := os.Truncate(s.recordPath(img.ID), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := s.GC(t.Context(), GCOptions{Unused: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(s.layerDir(img.DiffIDs[0])); err != nil {
		t.Errorf("the layer of an unreadable image is gone: %v", err)
	}
	if removed, err := s.Remove(t.Context(), mustRef(t, "app")); err != nil || len(removed) != 1 {
		t.Errorf("remove a broken image: %v, %v", removed, err)
	}
	if _, err := s.GC(t.Context(), GCOptions{}); err != nil {
		t.Fatal(err)
	}
	if left := contents(t, s); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

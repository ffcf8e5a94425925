package runtime

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gantryrun/gantry/image"
	"github.com/gantryrun/gantry/pods"
)

func contextOf() context.Context { return context.Background() }

// left makes a pod that is over, as its supervisor left it.
func left(t *testing.T, r *Runtime, ref image.Ref, run *pods.Run, exit *pods.Exit) *pods.Pod {
	t.Helper()
	p := prepare(t, r, ref)
	if run != nil {
		if err := p.pod.WriteRun(run); err != nil {
			t.Fatal(err)
		}
	}
	if exit != nil {
		if err := p.pod.WriteExit(exit); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Release(); err != nil {
		t.Fatal(err)
	}
	pod, err := r.Pods().Open(p.UUID)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pod.Close() })
	return pod
}

func TestGC(t *testing.T) {
	run := func(started time.Time) *pods.Run {
		return &pods.Run{BootID: pods.BootID(), PID: 1 << 22, Started: started}
	}
	exited := func(ago time.Duration, left ...string) *pods.Exit {
		return &pods.Exit{Finished: time.Now().Add(-ago), Left: left}
	}
	grace := GCOptions{Grace: time.Hour, ExpirePrepared: time.Hour}
	for _, tt := range []struct {
		name    string
		run     *pods.Run
		exit    *pods.Exit
		opts    GCOptions
		undo    string // what the fake does
		removed bool
		undone  bool
		fails   bool
	}{
		{name: "prepared", opts: grace},
		{name: "prepared and expired", opts: GCOptions{Grace: time.Hour}, removed: true},
		{name: "exited", run: run(time.Now()), exit: exited(time.Minute), opts: grace},
		{name: "exited long ago", run: run(time.Now()), exit: exited(2 * time.Hour), opts: grace, removed: true},
		{name: "exited in the future", run: run(time.Now()), exit: exited(-48 * time.Hour), opts: GCOptions{}, removed: true},
		{name: "lost", run: run(time.Now()), opts: grace, undone: true},
		{name: "lost long ago", run: run(time.Now().Add(-2 * time.Hour)), opts: grace, undone: true, removed: true},
		{name: "left a step", run: run(time.Now()), exit: exited(0, "cgroups"), opts: grace, undone: true},
		{name: "of another boot", run: &pods.Run{BootID: "another", Started: time.Now().Add(-2 * time.Hour)}, opts: grace, undone: true, removed: true},
		{name: "cannot be undone", run: run(time.Now().Add(-2 * time.Hour)), opts: grace, undo: "undo fails", undone: true, fails: true},
		{name: "mark only", run: run(time.Now().Add(-2 * time.Hour)), opts: GCOptions{MarkOnly: true}, undone: true},
		{name: "dry run", run: run(time.Now()), exit: exited(2 * time.Hour), opts: GCOptions{DryRun: true}, removed: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, ref := testRuntime(t), testImage(t)
			pod := left(t, r, ref, tt.run, tt.exit)
			fake(t, r, tt.undo)
			report, err := r.GC(t.Context(), tt.opts)
			if (err != nil) != tt.fails {
				t.Fatalf("error %v", err)
			}
			if slices.Contains(report.Removed, pod.UUID) != tt.removed {
				t.Errorf("removed %v", report.Removed)
			}
			_, err = os.Stat(r.Pods().PodPath(pod.UUID))
			if gone := os.IsNotExist(err); gone != (tt.removed && !tt.opts.DryRun) {
				t.Errorf("gone is %v", gone)
			}
			f := foundBy(t, r, "undo")
			if (f != nil) != tt.undone {
				t.Errorf("undo was called: %+v", f)
			}
			if f != nil && f.Descriptors["3"] != r.Pods().PodPath(pod.UUID) {
				t.Errorf("undo got %v", f.Descriptors)
			}
		})
	}
}

// TestGCKeepsTheLiving: a running pod, one that is being written, and one that somebody is about to run.
func TestGCKeepsTheLiving(t *testing.T) {
	r, ref := testRuntime(t), testImage(t)
	running := supervised(t, r, ref)
	starting := prepare(t, r, ref)
	draft, err := r.Pods().Draft(pods.NewUUID())
	if err != nil {
		t.Fatal(err)
	}
	report, err := r.GC(t.Context(), GCOptions{})
	if err != nil || len(report.Removed) != 0 || report.Kept != 3 {
		t.Errorf("%+v %v", report, err)
	}
	for _, uuid := range []string{running.UUID, starting.UUID, draft.UUID} {
		if _, err := os.Stat(r.Pods().PodPath(uuid)); err != nil {
			t.Error(err)
		}
	}
	if err := draft.Discard(); err != nil {
		t.Error(err)
	}
}

// TestGCSweepsDrafts: what a gantry that was killed while writing has left.
func TestGCSweepsDrafts(t *testing.T) {
	r := testRuntime(t)
	aborted := pods.NewUUID()
	for _, dir := range []string{aborted, ".new-" + pods.NewUUID(), ".trash-" + pods.NewUUID()} {
		if err := os.MkdirAll(filepath.Join(r.Pods().Path(), dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(r.Pods().PodPath(aborted), "lock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := r.GC(t.Context(), GCOptions{Grace: time.Hour, ExpirePrepared: time.Hour}); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(r.Pods().Path())
	if err != nil || len(entries) != 0 {
		t.Errorf("left: %v %v", entries, err)
	}
}

// TestGCImages: an image without a name stays as long as a pod was made from it.
func TestGCImages(t *testing.T) {
	r, ref := testRuntime(t), testImage(t)
	pod := left(t, r, ref, nil, nil)
	if _, err := r.Store.Remove(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
	keep := GCOptions{ExpirePrepared: time.Hour}
	if report, err := r.GC(t.Context(), keep); err != nil || len(report.Images.Images) != 0 {
		t.Fatalf("%+v %v", report, err)
	}
	if err := r.Remove(t.Context(), pod, false); err != nil {
		t.Fatal(err)
	}
	if report, err := r.GC(t.Context(), keep); err != nil || len(report.Images.Images) != 1 {
		t.Fatalf("%+v %v", report, err)
	}
}

// TestList: one pod of each kind, and one that cannot be read, which keeps no other from the list.
func TestList(t *testing.T) {
	r, ref := testRuntime(t), testImage(t)
	prepared := left(t, r, ref, nil, nil)
	exited := left(t, r, ref, &pods.Run{BootID: pods.BootID(), Started: time.Now()}, &pods.Exit{Code: 3, Finished: time.Now()})
	broken := left(t, r, ref, nil, nil)
	if err := os.WriteFile(filepath.Join(r.Pods().PodPath(broken.UUID), "pod.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	future := left(t, r, ref, nil, nil)
	if err := os.WriteFile(filepath.Join(r.Pods().PodPath(future.UUID), "pod.json"), []byte(`{"version":"v9"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	list, err := List(r.Pods())
	if err != nil || len(list) != 4 {
		t.Fatalf("%+v %v", list, err)
	}
	for _, s := range list {
		switch s.UUID {
		case prepared.UUID:
			if s.State != pods.Prepared || len(s.Apps) != 1 || s.Error != "" {
				t.Errorf("prepared: %+v", s)
			}
		case exited.UUID:
			if s.State != pods.Exited || s.Code == nil || *s.Code != 3 {
				t.Errorf("exited: %+v", s)
			}
		case broken.UUID, future.UUID:
			if s.Error == "" {
				t.Errorf("broken: %+v", s)
			}
		}
	}
	if list, err := List(pods.In(t.TempDir())); err != nil || len(list) != 0 {
		t.Errorf("of nothing: %v %v", list, err)
	}
	// gc must not guess what such pods were made from.
	if _, err := r.GC(t.Context(), GCOptions{Grace: time.Hour, ExpirePrepared: time.Hour}); err != nil && !strings.Contains(err.Error(), "pod") {
		t.Errorf("gc: %v", err)
	}
}

// TestKilledRun: the pod of a run that was killed before its supervisor was there is nobody's, whatever the times of gc.
func TestKilledRun(t *testing.T) {
	r, ref := testRuntime(t), testImage(t)
	req := request(ref)
	req.Name, req.Run = "web", true
	p, err := r.Prepare(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Release(); err != nil {
		t.Fatal(err)
	}
	pod, err := r.Pods().Open("web")
	if err != nil || stateOf(t, pod) != pods.Aborted {
		t.Fatal(stateOf(t, pod), err)
	}
	defer pod.Close()
	if _, err := r.TakePrepared(t.Context(), pod); !errors.Is(err, ErrState) {
		t.Errorf("run-prepared: %v", err)
	}
	if _, err := r.Again(t.Context(), pod); !errors.Is(err, ErrState) {
		t.Errorf("restart: %v", err)
	}
	report, err := r.GC(t.Context(), GCOptions{Grace: time.Hour, ExpirePrepared: time.Hour})
	if err != nil || !slices.Equal(report.Removed, []string{p.UUID}) {
		t.Errorf("%+v %v", report, err)
	}
}

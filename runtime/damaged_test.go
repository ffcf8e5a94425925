package runtime

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gantryrun/gantry/image"
	"github.com/gantryrun/gantry/pods"
)

func damage(t *testing.T, r *Runtime, pod *pods.Pod, file, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(r.Pods().PodPath(pod.UUID), file), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestGCOfDamaged: what a power cut, or anybody, left of a pod's files keeps neither that pod from gc and rm, nor others.
func TestGCOfDamaged(t *testing.T) {
	r, ref := testRuntime(t), testImage(t)
	long := time.Now().Add(-2 * time.Hour)
	run := &pods.Run{BootID: pods.BootID(), PID: 1 << 22, Started: long}
	files := []string{"run.json", "pod.json", "exit.json", "apps/app/app.json"}
	for _, content := range []string{"", "\x00\x00", "{", "[]", `{"version":"v1","surprise":1}`} {
		for _, file := range files {
			for _, force := range []bool{false, true} {
				pod := left(t, r, ref, run, nil)
				damage(t, r, pod, file, content)
				if force {
					if err := r.Remove(t.Context(), pod, true); err != nil {
						t.Errorf("rm of one with %s %q: %v", file, content, err)
					}
					continue
				}
				other := left(t, r, ref, run, nil)
				report, err := r.GC(t.Context(), GCOptions{Grace: time.Hour})
				if err != nil || !slices.Contains(report.Removed, pod.UUID) || !slices.Contains(report.Removed, other.UUID) {
					t.Errorf("gc of one with %s %q: %+v %v", file, content, report, err)
				}
			}
		}
	}
}

// TestGCKeepsImagesOfDamaged: as long as a damaged pod stays, no image goes, for it may be its; gc says which pods these are.
func TestGCKeepsImagesOfDamaged(t *testing.T) {
	r, ref := testRuntime(t), testImage(t)
	run := &pods.Run{BootID: pods.BootID(), Started: time.Now()}
	var damaged []*pods.Pod
	for range 2 {
		pod := left(t, r, ref, run, &pods.Exit{Finished: time.Now()})
		damage(t, r, pod, "apps/app/app.json", "")
		damaged = append(damaged, pod)
	}
	over := left(t, r, ref, run, &pods.Exit{Finished: time.Now().Add(-2 * time.Hour)})
	killed := left(t, r, ref, nil, nil) // a run, amid app.json
	damage(t, r, killed, "apps/app/app.json", "")
	if err := killed.Root().Remove("pod.json"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Store.Remove(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
	if report, err := r.ImageGC(t.Context(), image.GCOptions{}); err == nil || strings.Contains(err.Error(), killed.UUID) || len(report.Images) != 0 {
		t.Errorf("image gc: %+v %v", report, err)
	}
	report, err := r.GC(t.Context(), GCOptions{Grace: time.Hour})
	if !slices.Contains(report.Removed, over.UUID) || len(report.Images.Images) != 0 {
		t.Errorf("%+v", report)
	}
	for _, pod := range damaged {
		if err == nil || strings.Count(err.Error(), "images of pod "+pod.UUID) != 1 {
			t.Errorf("pod %s: %v", pod.UUID, err)
		}
	}
	for _, pod := range damaged {
		if err := r.Remove(t.Context(), pod, false); err != nil {
			t.Error(err)
		}
	}
	if report, err := r.ImageGC(t.Context(), image.GCOptions{}); err != nil || len(report.Images) != 1 {
		t.Errorf("at last: %+v %v", report, err)
	}
}

// TestStopOfDamaged: the supervisor that run.json does not name any more is asked who it is at its socket.
func TestStopOfDamaged(t *testing.T) {
	r, ref := testRuntime(t), testImage(t)
	pod := supervised(t, r, ref)
	whole, err := pod.ReadFile("run.json")
	if err != nil {
		t.Fatal(err)
	}
	damage(t, r, pod, "run.json", "")
	err = Stop(t.Context(), pod, StopOptions{Force: true})
	if err == nil || !strings.Contains(err.Error(), "run.json") || !strings.Contains(err.Error(), "gantry gc") {
		t.Errorf("without a socket: %v", err)
	}
	damage(t, r, pod, "run.json", string(whole)) // for the clean-up

	path := filepath.Join(t.TempDir(), "ctl")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p, err := peer(path)
	if err != nil || p.pid != os.Getpid() {
		t.Fatalf("%+v %v", p, err)
	}
	p.close()
}

// TestGCWithoutLock: a pod that has lost its lock file goes like others, in its time; not while somebody runs it.
func TestGCWithoutLock(t *testing.T) {
	r, ref := testRuntime(t), testImage(t)
	long := time.Now().Add(-2 * time.Hour)
	run := &pods.Run{BootID: pods.BootID(), PID: 1 << 22, Started: long}
	old := left(t, r, ref, run, &pods.Exit{Finished: long})
	young := left(t, r, ref, run, &pods.Exit{Finished: time.Now()})
	self, err := pods.ProcessStart(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	alive := left(t, r, ref, &pods.Run{BootID: pods.BootID(), PID: os.Getpid(), StartTime: self, Started: long}, nil)
	for _, pod := range []*pods.Pod{old, young, alive} {
		if err := os.Remove(filepath.Join(r.Pods().PodPath(pod.UUID), "lock")); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // young gets a lock file by the first
		report, err := r.GC(t.Context(), GCOptions{Grace: time.Hour})
		if slices.Contains(report.Removed, young.UUID) || slices.Contains(report.Removed, alive.UUID) {
			t.Errorf("gc: %+v, %v", report, err)
		}
	}
	if err := r.Remove(t.Context(), alive, false); err == nil || !strings.Contains(err.Error(), "has lost its lock file while its supervisor") {
		t.Errorf("rm of one that is alive: %v", err)
	}
	if _, err := os.Stat(r.Pods().PodPath(old.UUID)); !os.IsNotExist(err) {
		t.Errorf("the old one is still there: %v", err)
	}
	if err := r.Remove(t.Context(), young, false); err != nil {
		t.Errorf("rm: %v", err)
	}
}

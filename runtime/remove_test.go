package runtime

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/gantryrun/gantry/pods"
)

// TestRemoveAtOnce: rm, stop and gc of one pod at the same time. One removes it; no other sees more than that it is being removed.
func TestRemoveAtOnce(t *testing.T) {
	r, ref := testRuntime(t), testImage(t)
	for range 10 {
		pod := left(t, r, ref, &pods.Run{BootID: pods.BootID(), Started: time.Now()}, &pods.Exit{Finished: time.Now()})
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if err := r.Remove(t.Context(), pod, true); err != nil && !errors.Is(err, ErrState) {
					t.Errorf("rm: %v", err)
				}
			})
			wg.Go(func() {
				if _, err := r.GC(t.Context(), GCOptions{}); err != nil {
					t.Errorf("gc: %v", err)
				}
			})
			wg.Go(func() {
				if err := Stop(t.Context(), pod, StopOptions{}); err != nil {
					t.Errorf("stop: %v", err)
				}
			})
		}
		wg.Wait()
	}
}

// TestRemoveWaits: gc has a pod for a moment; who removes the pod waits for that, and is not refused.
func TestRemoveWaits(t *testing.T) {
	r, ref := testRuntime(t), testImage(t)
	pod := left(t, r, ref, &pods.Run{BootID: pods.BootID(), Started: time.Now()}, &pods.Exit{Finished: time.Now()})
	gc, err := pod.LockGC()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- r.Remove(t.Context(), pod, true) }()
	select {
	case err := <-done:
		t.Errorf("it did not wait: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	if err := gc.Release(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("rm: %v", err)
	}
	if !pod.Removed() {
		t.Error("the pod is still there")
	}
}

package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/gantryrun/gantry/image"
	"github.com/gantryrun/gantry/pods"
)

// TakePrepared takes the life of a pod that was prepared, and makes its images available again: a reboot or gc may have
// unmounted them. ErrState: the pod is past that, or somebody else was faster. pod is the result's from then on.
func (r *Runtime) TakePrepared(ctx context.Context, pod *pods.Pod) (p *Prepared, err error) {
	lock, err := pod.LockLife()
	if errors.Is(err, pods.ErrBusy) {
		return nil, stateErrorf("pod %s: somebody runs or removes it", pod.UUID)
	}
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, lock.Release())
		}
	}()
	// With the lock held by us, a pod that could be run is "starting".
	state, err := pod.State()
	if err != nil {
		return nil, err
	}
	if state != pods.Starting {
		return nil, stateErrorf("pod %s is %s, and a pod runs once", pod.UUID, seenWithoutUs(state))
	}
	m, err := pod.Manifest()
	if err != nil {
		return nil, err
	}
	if m.Run {
		return nil, stateErrorf("pod %s is %s: the run that made it was killed", pod.UUID, pods.Aborted)
	}
	release, err := r.Store.Hold()
	if err != nil {
		return nil, err
	}
	defer release()
	apps, err := pod.Apps()
	if err != nil {
		return nil, err
	}
	for _, a := range apps {
		if err := r.remount(ctx, a); err != nil {
			return nil, fmt.Errorf("app %s: %w", a.Name, err)
		}
	}
	return newPrepared(pod, m, r.Pods().PodPath(pod.UUID), lock), nil
}

func (r *Runtime) remount(ctx context.Context, a *pods.App) error {
	ref, err := image.ParseRef(a.Image.ID)
	if err != nil {
		return err
	}
	used, err := r.useImage(ctx, ref, false)
	if err != nil {
		return err
	}
	if len(used.lower) != len(a.Rootfs.Lower) || !sameDir(used.lower[0], a.Rootfs.Lower[0]) {
		return stateErrorf("its image is kept in another way by now: prepare the pod again")
	}
	return nil
}

// sameDir: the data directory may have been named by another path, then as now.
func sameDir(a, b string) bool {
	if a == b {
		return true
	}
	one, errOne := os.Stat(a)
	other, errOther := os.Stat(b)
	return errOne == nil && errOther == nil && os.SameFile(one, other)
}

// seenWithoutUs is the state that others saw before we took the lock.
func seenWithoutUs(s pods.State) pods.State {
	switch s {
	case pods.Preparing:
		return pods.Aborted
	case pods.Running, pods.Exiting:
		return pods.Exited
	}
	return s
}

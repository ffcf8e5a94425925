package stage1

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/gantryrun/gantry/network"
	"github.com/gantryrun/gantry/pods"
)

// attachTo attaches the pod to one network. What a dead pod of the same data directory still has, because its supervisor was
// killed and gc has not been there yet, is taken from it: a unit that is started again must get its port and its address at
// once. Each owner is swept once, so this ends.
func (s *supervisor) attachTo(ctx context.Context, host *network.Host, a network.Attachment, netns string) (network.Result, error) {
	swept := map[string]bool{}
	for {
		r, err := host.Attach(ctx, a, netns)
		taken, ok := errors.AsType[*network.InUseError](err)
		if !ok || swept[taken.PodID] {
			return r, err
		}
		if why := sweepDead(ctx, filepath.Dir(s.opts.Path), taken.PodID); why != nil {
			return r, fmt.Errorf("%w, %w", err, why)
		}
		swept[taken.PodID] = true
	}
}

// sweepDead does for one pod below dir what gc does for all: if nobody holds its life, what its supervisor left is undone. Its
// directory stays, for who asks how it ended. The error continues a sentence that ends with the pod.
func sweepDead(ctx context.Context, dir, uuid string) error {
	path := filepath.Join(dir, filepath.Base(uuid)) // a lease may be anybody's: host-local writes them too
	pod, err := pods.OpenDir(path)
	if err != nil {
		return fmt.Errorf("which is not in %s: stop it or run gc with the --dir that it has (if that is gone: gantry network check --repair), or ask for another one", dir)
	}
	defer pod.Close()
	state, err := pod.State()
	if err != nil {
		return fmt.Errorf("which cannot be read: %w", err)
	}
	if !state.Over() { // no pod comes back from there: what is over now is over below
		return fmt.Errorf("which is %s: stop it (gantry stop %s) or ask for another one", state, uuid)
	}
	lock, err := pod.LockGC()
	if errors.Is(err, pods.ErrBusy) {
		return errors.New("which is dead and being cleaned up by another gantry: try again")
	}
	if err != nil {
		return fmt.Errorf("which is dead and cannot be cleaned up: %w", err)
	}
	defer func() { _ = lock.Release() }()
	files, err := pod.Root().Open(".")
	if err != nil {
		return fmt.Errorf("which is dead and cannot be cleaned up: %w", err)
	}
	defer files.Close()
	if err := Sweep(ctx, files, path); err != nil {
		return fmt.Errorf("which is dead and cannot be cleaned up: %w", err)
	}
	return nil
}

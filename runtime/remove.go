package runtime

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/gantryrun/gantry/pods"
)

// sweepTime is how long Remove lets somebody else finish who is at work on the pod.
const sweepTime = 20 * time.Second

// Remove removes a pod that is over or was never run, and everything that it left; with force, a running one is killed first.
// ErrState: it is alive.
func (r *Runtime) Remove(ctx context.Context, pod *pods.Pod, force bool) error {
	state, err := pod.State()
	if err != nil {
		return err
	}
	defer watchUndead(ctx, pod, r.Warn)()
	if state.Live() && force {
		if err := Stop(ctx, pod, StopOptions{Force: true}); err != nil {
			return err
		}
	}
	_, err = r.sweep(ctx, pod, sweeping{lock: awaitGC, due: func(pods.State) bool { return true }})
	if errors.Is(err, fs.ErrNotExist) && pod.Removed() {
		return nil // somebody else removed it meanwhile
	}
	return err
}

// awaitGC takes a pod's gc lock, and waits for who has it: gc looks at every pod, and has each for a moment. A pod that a unit's
// ExecStopPost= could not remove for that reason would stay for a grace period.
func awaitGC(ctx context.Context, pod *pods.Pod) (*pods.Lock, error) {
	ctx, cancel := context.WithTimeout(ctx, sweepTime)
	defer cancel()
	for {
		gc, err := pod.LockGC()
		if !errors.Is(err, pods.ErrBusy) {
			return gc, err
		}
		if pod.WaitGC(ctx) != nil {
			return nil, err
		}
	}
}

// tryGC takes the lock, or leaves the pod to who has it.
func tryGC(_ context.Context, pod *pods.Pod) (*pods.Lock, error) { return pod.LockGC() }

// sweeping is how a pod is swept.
type sweeping struct {
	lock func(context.Context, *pods.Pod) (*pods.Lock, error)
	due  func(pods.State) bool // whether a pod in this state is to be removed too
	skip []string              // GCOptions.SkipPlugins
}

// sweep takes the locks of a pod that nobody runs, undoes what its supervisor left behind, and removes it if it is due.
func (r *Runtime) sweep(ctx context.Context, pod *pods.Pod, s sweeping) (removed bool, err error) {
	gc, err := s.lock(ctx, pod)
	if errors.Is(err, fs.ErrNotExist) && !pod.Removed() {
		if err := mendLock(pod); err != nil {
			return false, err
		}
		gc, err = s.lock(ctx, pod)
	}
	if err != nil {
		return false, busy(pod, err, "somebody else is removing it")
	}
	defer func() { err = errors.Join(err, gc.Release()) }()
	before, err := pod.State()
	if err != nil {
		return false, err
	}
	if before.Live() || before == pods.Preparing {
		return false, stateErrorf("pod %s is %s", pod.UUID, before)
	}
	// With its life in our hands nobody can start it under us.
	life, err := pod.LockLife()
	if err != nil {
		return false, busy(pod, err, "somebody runs it")
	}
	defer func() { err = errors.Join(err, life.Release()) }()
	state, err := pod.State()
	if err != nil {
		return false, err
	}
	if state = withoutUs(state, before); state.Over() {
		if err := r.undo(ctx, pod, s.skip); err != nil {
			return false, err
		}
	}
	if !s.due(state) {
		return false, nil
	}
	return true, r.Pods().Remove(pod)
}

// mendLock makes a lock file for a pod that has none, unless a supervisor lives that holds the lost one.
func mendLock(pod *pods.Pod) error {
	p, err := peer(filepath.Join(runDirs, pod.UUID, pods.ControlFile))
	if run, runErr := pod.Run(); err != nil && runErr == nil && run.BootID == pods.BootID() {
		p, err = openProcess(run.PID, run.StartTime)
	}
	if err == nil {
		defer p.close()
		return stateErrorf("pod %s has lost its lock file while its supervisor (process %d) lives: kill that, then run gantry gc", pod.UUID, p.pid)
	}
	return pod.MendLock()
}

// withoutUs is what state would be if we did not hold the life lock. before is what it was: it can only have moved on.
func withoutUs(state, before pods.State) pods.State {
	if before.Over() {
		return before // nothing leads on from there
	}
	if state == pods.Starting {
		return pods.Prepared
	}
	return seenWithoutUs(state)
}

func busy(pod *pods.Pod, err error, why string) error {
	if errors.Is(err, pods.ErrBusy) {
		return stateErrorf("pod %s: %s", pod.UUID, why)
	}
	return err
}

// resetNetwork has stage1 take back what the network has on the host for all pods together, unless pods of another data
// directory use it. Where no pod had a network since the machine was booted there is nothing.
func (r *Runtime) resetNetwork(ctx context.Context) error {
	if _, err := os.Lstat(leasesDir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	argv, err := r.stage1("reset-network")
	if err != nil {
		return err
	}
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env, cmd.Stderr = os.Environ(), &stderr
	if err := runBound(cmd); err != nil {
		return fmt.Errorf("reset network: %w: %s", err, strings.TrimSpace(stderr.String()))
	}
	return nil
}

// leasesDir is there once a pod has had an address.
const leasesDir = "/run/gantry/leases"

// undone says whether a pod that nobody runs has nothing that a supervisor would have to take back: it was never run, or it ended
// by itself and undid all.
func undone(pod *pods.Pod) bool {
	if _, err := pod.Root().Lstat("run.json"); errors.Is(err, fs.ErrNotExist) {
		return true
	}
	exit, err := pod.Exit()
	return err == nil && len(exit.Left) == 0
}

// undo has stage1 take back what a dead supervisor left: processes, attachments, cgroups. Where it ended by itself there is nothing.
func (r *Runtime) undo(ctx context.Context, pod *pods.Pod, skip []string) error {
	if undone(pod) {
		return nil
	}
	argv, err := r.stage1("undo", append([]string{r.Pods().PodPath(pod.UUID)}, skip...)...)
	if err != nil {
		return err
	}
	dir, err := pod.Root().Open(".")
	if err != nil {
		return err
	}
	defer dir.Close()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env, cmd.Stderr, cmd.ExtraFiles = os.Environ(), &stderr, []*os.File{dir}
	if err := runBound(cmd); err != nil {
		if said := strings.TrimSpace(strings.TrimPrefix(stderr.String(), "gantry: run: ")); said != "" {
			err = fmt.Errorf("%w: %s", ErrUndo, said)
		}
		return fmt.Errorf("undo pod %s: %w", pod.UUID, err)
	}
	return nil
}

// ErrUndo: something that a pod's supervisor made could not be taken back, so that its directory stays.
var ErrUndo = errors.New("not all of it could be taken back")

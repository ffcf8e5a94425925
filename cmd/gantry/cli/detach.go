package cli

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/gantryrun/gantry/pods"
	"github.com/gantryrun/gantry/runtime"
	"github.com/gantryrun/gantry/runtime/systemd"
)

// unitOptions are the flags for the unit of a detached pod.
type unitOptions struct {
	slice      string
	properties []string
}

func (u unitOptions) asked() bool { return u.slice != "" || len(u.properties) > 0 }

// detachPod leaves the pod running: as a service of its own where there is a systemd, else as a session of its own. A systemd that
// does not answer is none, unless the user asked for something that only it can give. A pod that nobody got is handed to abandon;
// an error of stage1's is a *runtime.StartError.
func detachPod(ctx context.Context, e *env, r *runtime.Runtime, p *runtime.Prepared, u unitOptions, abandon func(*runtime.Prepared) error) error {
	if !systemd.Booted() {
		if u.asked() {
			return errors.Join(errors.New("--slice and --property need systemd, which does not run here"), abandon(p))
		}
		return fork(ctx, r, p, abandon)
	}
	pod, err := r.Pods().Open(p.UUID)
	if err != nil {
		return errors.Join(err, abandon(p))
	}
	if err := p.Release(); err != nil { // for the unit's process to take
		return err
	}
	unit, err := newUnit(e, r, pod, u)
	if err != nil {
		return err
	}
	err = startUnit(ctx, unit, pod)
	switch {
	case err == nil:
		return pod.Close()
	case ctx.Err() != nil:
		return interruptUnit(ctx, r, unit, pod, abandon)
	case !errors.Is(err, systemd.ErrUnavailable) && !errors.Is(err, systemd.ErrRefused):
		return errors.Join(err, pod.Close())
	}
	taken, takeErr := r.TakePrepared(ctx, pod)
	if takeErr != nil {
		return errors.Join(err, takeErr)
	}
	if u.asked() || errors.Is(err, systemd.ErrRefused) {
		return errors.Join(err, abandon(taken))
	}
	e.warn("%v: the pod runs in the cgroup of this shell", err)
	return fork(ctx, r, taken, abandon)
}

func fork(ctx context.Context, r *runtime.Runtime, p *runtime.Prepared, abandon func(*runtime.Prepared) error) error {
	err := r.Start(ctx, p)
	var failed *runtime.StartError
	if err != nil && !errors.As(err, &failed) {
		return errors.Join(err, abandon(p))
	}
	return err
}

// newUnit is a service that runs `gantry run-prepared`.
func newUnit(e *env, r *runtime.Runtime, pod *pods.Pod, u unitOptions) (*systemd.Transient, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	t := &systemd.Transient{
		Name: "gantry-" + pod.UUID + ".service", Description: "gantry pod " + pod.UUID, Slice: u.slice, Properties: u.properties,
		Command: []string{self, "--dir=" + r.Dir, "--store=" + e.backend, "--system-config=" + e.systemConfig, "--local-config=" + e.localConfig},
		Taken: func() bool {
			state, err := pod.State()
			return err == nil && state != pods.Prepared
		},
	}
	if e.userConfig != "" { // without a HOME there is none
		t.Command = append(t.Command, "--user-config="+e.userConfig)
	}
	t.Command = append(t.Command, "run-prepared", pod.UUID)
	return t, nil
}

// startUnit returns when the pod is ready. What stage1 could not start is a *runtime.StartError.
func startUnit(ctx context.Context, t *systemd.Transient, pod *pods.Pod) error {
	err := t.Start(ctx)
	if err == nil || ctx.Err() != nil || errors.Is(err, systemd.ErrUnavailable) || errors.Is(err, systemd.ErrRefused) {
		return err
	}
	exit, exitErr := pod.Exit()
	if exitErr != nil {
		return &runtime.StartError{Message: fmt.Sprintf("%v: see journalctl --unit=%s", err, t.Name), Code: exitGantry}
	}
	return &runtime.StartError{Message: exit.Reason, Code: exit.Code}
}

// interruptUnit is for who does not want to wait until the pod is ready: it is stopped, or, where the unit has not got to it yet, handed to abandon.
func interruptUnit(ctx context.Context, r *runtime.Runtime, t *systemd.Transient, pod *pods.Pod, abandon func(*runtime.Prepared) error) error {
	late := context.WithoutCancel(ctx)
	if !t.Taken() {
		t.Stop(late)
		if taken, err := r.TakePrepared(late, pod); err == nil {
			return errors.Join(ctx.Err(), abandon(taken))
		}
	}
	return errors.Join(runtime.StopUnready(ctx, pod), pod.Close())
}

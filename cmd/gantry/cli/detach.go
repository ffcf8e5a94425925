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
	uuid := p.UUID
	if err := p.Release(); err != nil { // for the unit's process to take
		return err
	}
	err := startUnit(ctx, e, r, uuid, u)
	if !errors.Is(err, systemd.ErrUnavailable) && !errors.Is(err, systemd.ErrRefused) {
		return err
	}
	pod, openErr := r.Pods().Open(uuid)
	if openErr != nil {
		return errors.Join(err, openErr)
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

// startUnit runs `gantry run-prepared` in a service, and returns when the pod is ready. What stage1 could not start is a
// *runtime.StartError.
func startUnit(ctx context.Context, e *env, r *runtime.Runtime, uuid string, u unitOptions) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	pod, err := r.Pods().Open(uuid)
	if err != nil {
		return err
	}
	defer pod.Close()
	t := &systemd.Transient{
		Name: "gantry-" + uuid + ".service", Description: "gantry pod " + uuid, Slice: u.slice, Properties: u.properties,
		Command: []string{self, "--dir=" + r.Dir, "--store=" + e.backend, "--system-config=" + e.systemConfig, "--local-config=" + e.localConfig},
		Taken: func() bool {
			state, err := pod.State()
			return err == nil && state != pods.Prepared
		},
	}
	if e.userConfig != "" { // without a HOME there is none
		t.Command = append(t.Command, "--user-config="+e.userConfig)
	}
	t.Command = append(t.Command, "run-prepared", uuid)
	err = t.Start(ctx)
	if err == nil || errors.Is(err, systemd.ErrUnavailable) || errors.Is(err, systemd.ErrRefused) {
		return err
	}
	exit, exitErr := pod.Exit()
	if exitErr != nil {
		return &runtime.StartError{Message: fmt.Sprintf("%v: see journalctl --unit=%s", err, t.Name), Code: exitGantry}
	}
	return &runtime.StartError{Message: exit.Reason, Code: exit.Code}
}

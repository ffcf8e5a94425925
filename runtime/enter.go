package runtime

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	goruntime "runtime"
	"syscall"

	"github.com/gantryrun/gantry/pods"
	"github.com/gantryrun/gantry/pods/report"
	"github.com/gantryrun/gantry/runtime/bundle"
)

// EnterOptions of Enter.
type EnterOptions struct {
	App  string // may be empty where the pod has one
	TTY  bool
	User string
	Env  []bundle.EnvVar
	Cwd  string
	Args []string // empty: a shell
	Verb string   // that errors name: "enter"
}

// shell is bash where the image has it.
const shell = "command -v bash >/dev/null 2>&1 && exec bash; exec sh"

// Enter becomes a command inside a running app, with its namespaces, cgroup, capabilities and filter. A pod that
// is still starting is waited for. It returns only on error.
func (r *Runtime) Enter(ctx context.Context, pod *pods.Pod, opts EnterOptions) error {
	state, err := pod.State()
	if err == nil && (state == pods.Starting || state == pods.Running && !pod.Ready()) {
		if err := WaitReady(ctx, pod); err != nil {
			return err
		}
		state, err = pod.State()
	}
	if err != nil {
		return err
	}
	if state != pods.Running {
		return stateErrorf("pod %s is %s, not running", pod.UUID, state)
	}
	run, err := pod.Run()
	if err != nil {
		return err
	}
	app, err := chooseApp(pod, opts.App)
	if err != nil {
		return err
	}
	launch, err := r.Programs.Find(launchProgram)
	if err != nil {
		return err
	}
	argv := []string{launch, "enter", "--verb=" + opts.Verb, "--run-dir=" + run.RunDir, "--app=" + app, "--pod-dir=" + filepath.Join(r.Pods().Path(), pod.UUID)}
	if r.JSON {
		argv = append(argv, report.JSONFlag)
	}
	argv = append(argv, opts.flags()...)
	if err := r.leave(); err != nil {
		return err
	}
	goruntime.LockOSThread()
	relax()
	if err := syscall.Exec(launch, argv, os.Environ()); err != nil {
		return fmt.Errorf("execute %s: %w", launch, err)
	}
	return nil
}

func (o EnterOptions) flags() []string {
	var flags []string
	if o.TTY {
		flags = append(flags, "--tty")
	}
	if o.User != "" {
		flags = append(flags, "--user="+o.User)
	}
	for _, v := range o.Env {
		flags = append(flags, "--env="+v.String())
	}
	if o.Cwd != "" {
		flags = append(flags, "--cwd="+o.Cwd)
	}
	if len(o.Args) == 0 {
		return append(flags, "--", "/bin/sh", "-c", shell)
	}
	return append(append(flags, "--"), o.Args...)
}

package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods"
)

// process is a process that cannot be mistaken for another one: a PID may have been given to somebody else since it was written
// down.
type process struct {
	fd, pid int
	start   uint64
}

// openProcess opens pid if it is still the process that started at start, in clock ticks since boot. ErrState: it is gone.
func openProcess(pid int, start uint64) (*process, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) {
		return nil, stateErrorf("process %d is gone", pid)
	}
	if err != nil {
		return nil, fmt.Errorf("open process %d: %w", pid, err)
	}
	// Now that it is open, what /proc says is of this process, or of nobody.
	now, err := pods.ProcessStart(pid)
	if err != nil || now != start {
		_ = unix.Close(fd)
		return nil, stateErrorf("process %d is gone", pid)
	}
	return &process{fd, pid, start}, nil
}

func (p *process) signal(sig unix.Signal) error {
	err := unix.PidfdSendSignal(p.fd, sig, nil, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil // it was faster
	}
	return err
}

func (p *process) close() { _ = unix.Close(p.fd) }

// supervisor opens the process of the pod's supervisor. ErrState: there is none.
func supervisor(pod *pods.Pod) (*process, error) {
	run, err := pod.Run()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, stateErrorf("pod %s has no supervisor yet", pod.UUID)
	}
	if err != nil {
		return damagedSupervisor(pod, err)
	}
	if run.BootID != pods.BootID() {
		return nil, stateErrorf("pod %s ran before the machine was restarted", pod.UUID)
	}
	return openProcess(run.PID, run.StartTime)
}

// StopOptions of Stop. The zero value asks every app to end in order, and waits as long as that takes.
type StopOptions struct {
	Force   bool                             // kill at once
	Timeout time.Duration                    // kill after this; 0: each app's own stop timeout decides
	Warn    func(format string, args ...any) // hears of a process that does not die; may be nil
}

// Stop ends a running pod and returns when it is over. A pod that is over already is no error.
func Stop(ctx context.Context, pod *pods.Pod, opts StopOptions) error {
	state, err := pod.State()
	if err != nil || state.Over() || state == pods.Exiting {
		return errors.Join(err, waitExiting(ctx, pod, state))
	}
	if state != pods.Running && pod.Removed() {
		return nil // it was over, and somebody has removed it meanwhile
	}
	if state == pods.Prepared || state == pods.Preparing {
		return stateErrorf("pod %s is %s, not running", pod.UUID, state)
	}
	if state == pods.Starting {
		if err := awaitFile(ctx, pod, "run.json"); err != nil {
			return err
		}
	}
	p, err := supervisor(pod)
	if errors.Is(err, ErrState) {
		return pod.WaitDead(ctx) // it ended between two looks
	}
	if err != nil {
		return err
	}
	defer p.close()
	defer watchUndead(ctx, pod, opts.Warn)()
	if opts.Force {
		return errors.Join(p.signal(unix.SIGQUIT), pod.WaitDead(ctx))
	}
	if err := p.signal(unix.Signal(pods.StopSignal)); err != nil {
		return fmt.Errorf("stop pod %s: %w", pod.UUID, err)
	}
	if opts.Timeout == 0 {
		return pod.WaitDead(ctx)
	}
	patience, cancel := context.WithTimeout(ctx, opts.Timeout)
	defer cancel()
	if err := pod.WaitDead(patience); err == nil || ctx.Err() != nil {
		return err
	}
	return errors.Join(p.signal(unix.SIGQUIT), pod.WaitDead(ctx))
}

func waitExiting(ctx context.Context, pod *pods.Pod, state pods.State) error {
	if state == pods.Exiting {
		return pod.WaitDead(ctx)
	}
	return nil
}

// Kill sends sig to the first process of each of the named apps, of all that run where none is named.
func Kill(pod *pods.Pod, sig unix.Signal, names []string) error {
	state, err := pod.State()
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
	apps, err := chooseApps(pod, names)
	if err != nil {
		return err
	}
	var errs []error
	reached := 0
	for _, a := range apps {
		p, err := appProcess(run.RunDir, a)
		if err == nil {
			err = p.signal(sig)
			p.close()
			reached++
		}
		if errors.Is(err, ErrState) && len(names) == 0 {
			continue // it is over, or about to be started again: the others are meant
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("app %s: %w", a, err))
		}
	}
	if reached == 0 && len(errs) == 0 {
		return stateErrorf("no app of pod %s is running", pod.UUID)
	}
	return errors.Join(errs...)
}

// chooseApps checks names against the pod's apps; none means all.
func chooseApps(pod *pods.Pod, names []string) ([]string, error) {
	apps, err := pod.Apps()
	if err != nil {
		return nil, err
	}
	var all []string
	known := map[string]bool{}
	for _, a := range apps {
		all = append(all, a.Name)
		known[a.Name] = true
	}
	for _, n := range names {
		if !known[n] {
			return nil, requestErrorf("pod %s has no app %q: it has %s", pod.UUID, n, strings.Join(all, ", "))
		}
	}
	if len(names) == 0 {
		return all, nil
	}
	return names, nil
}

// chooseApp is the app called name, or the only one where there is no name.
func chooseApp(pod *pods.Pod, name string) (string, error) {
	var names []string
	if name != "" {
		names = []string{name}
	}
	apps, err := chooseApps(pod, names)
	switch {
	case err != nil:
		return "", err
	case len(apps) == 0:
		return "", requestErrorf("pod %s has no app", pod.UUID)
	case len(apps) > 1:
		return "", requestErrorf("pod %s has several apps: say --app=%s", pod.UUID, strings.Join(apps, "|"))
	}
	return apps[0], nil
}

// appProcess opens an app's first process, from what libcontainer notes about it.
func appProcess(runDir, app string) (*process, error) {
	data, err := os.ReadFile(filepath.Join(runDir, "lc", filepath.Base(runDir)+"."+app, "state.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, stateErrorf("it is not running")
	}
	if err != nil {
		return nil, err
	}
	var state struct {
		PID   int    `json:"init_process_pid"`
		Start uint64 `json:"init_process_start"`
	}
	if err := json.Unmarshal(data, &state); err != nil {
		return nil, err
	}
	return openProcess(state.PID, state.Start)
}

package runtime

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/gantryrun/gantry/pods"
)

// Status is everything that a pod directory says.
type Status struct {
	Summary
	PID    int            `json:"pid,omitempty"` // of the supervisor, while it runs
	Ready  bool           `json:"ready"`
	Reason string         `json:"reason,omitempty"`
	Left   []string       `json:"left,omitempty"` // clean-up that gc has to do again
	Pod    *pods.Manifest `json:"pod,omitempty"`
	Status []AppStatus    `json:"status"`

	runDir string
}

// AppStatus is how an app is doing, or did.
type AppStatus struct {
	*pods.App
	State string       `json:"state"`         // AppStarting, AppRunning, AppRestarting, AppExited, AppCreated, or "" of one that never ran
	PID   int          `json:"pid,omitempty"` // of its first process, while it runs
	Runs  int          `json:"runs"`          // finished ones
	Last  *pods.AppRun `json:"last,omitempty"`
	// Dropped is what of its output is not kept; nil: nothing.
	Dropped *pods.Dropped `json:"dropped,omitempty"`
	// PostStop is how the hook ended that ran after Last; nil: none did, or not to its end.
	PostStop *pods.AppRun `json:"postStopped,omitempty"`
}

// What AppStatus.State can be.
const (
	AppStarting   = "starting"
	AppRunning    = "running"
	AppRestarting = "restarting" // it has ended, and is to be started again
	AppExited     = "exited"
	AppCreated    = "created" // it was added to the running pod, and not started yet
)

// Restarts is how often the app was started again.
func (a *AppStatus) Restarts() int {
	if a.State == AppExited {
		return max(0, a.Runs-1)
	}
	return a.Runs
}

// ReadStatus reads one pod.
func ReadStatus(store *pods.Store, pod *pods.Pod) (*Status, error) {
	s := &Status{Status: []AppStatus{}, Ready: pod.Ready()}
	summary, err := Summarize(store, pod.UUID)
	if err != nil {
		return nil, err
	}
	s.Summary = *summary
	if s.State == pods.Preparing || s.State == pods.Aborted {
		return s, nil
	}
	if s.Pod, err = pod.Manifest(); err != nil {
		return nil, err
	}
	apps, err := pod.Apps()
	if err != nil {
		return nil, err
	}
	for _, a := range apps {
		last, n, err := pod.LastRun(a.Name)
		if err != nil {
			return nil, err
		}
		dropped, err := readDropped(pod, a.Name)
		if err != nil {
			return nil, err
		}
		status := AppStatus{App: a, Runs: n, Last: last, Dropped: dropped}
		if a.PostStop != nil && n > 0 {
			if status.PostStop, err = pod.PostStop(a.Name, n-1); errors.Is(err, fs.ErrNotExist) {
				status.PostStop = nil
			} else if err != nil {
				return nil, err
			}
		}
		s.Status = append(s.Status, status)
	}
	if err := s.readEnds(pod); err != nil {
		return nil, err
	}
	for i := range s.Status {
		s.Status[i].look(s.State.Live(), s.runDir, s.Ready)
	}
	return s, nil
}

// look works out how the app is doing. While it runs it has no file of its own in the pod directory: its process tells.
func (a *AppStatus) look(live bool, runDir string, ready bool) {
	if live && runDir != "" {
		if p, err := appProcess(runDir, a.Name); err == nil {
			a.State, a.PID = AppRunning, p.pid
			p.close()
			return
		}
	}
	switch {
	case live && a.Last == nil && a.Added && ready:
		a.State = AppCreated
	case live && a.Last == nil:
		a.State = AppStarting
	case live && a.Last.Again != nil:
		a.State = AppRestarting
	case a.Last != nil:
		a.State = AppExited
	}
}

// readDropped is nil where nothing was dropped.
func readDropped(pod *pods.Pod, app string) (*pods.Dropped, error) {
	d, err := pod.Dropped(app)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return d, err
}

func (s *Status) readEnds(pod *pods.Pod) error {
	run, err := pod.Run()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	s.runDir = run.RunDir
	if s.State == pods.Running {
		s.PID = run.PID
	}
	exit, err := pod.Exit()
	switch {
	case err == nil:
		s.Reason, s.Left = exit.Reason, exit.Left
	case !errors.Is(err, fs.ErrNotExist):
		return err
	case s.State == pods.Exited && run.BootID != pods.BootID():
		s.Reason = "the machine was restarted"
	case s.State == pods.Exited:
		s.Reason = "the supervisor was killed"
	}
	return nil
}

// Wait returns when the pod is over, sleeping in the kernel. A pod that nobody runs is ErrState; ctx ends the waiting.
func Wait(ctx context.Context, pod *pods.Pod) error {
	for {
		state, err := pod.State()
		if err != nil {
			return err
		}
		if state.Over() {
			return nil
		}
		if state == pods.Prepared {
			return stateErrorf("pod %s is prepared, and nobody runs it", pod.UUID)
		}
		if err := pod.WaitDead(ctx); err != nil {
			return fmt.Errorf("wait for pod %s: %w", pod.UUID, err)
		}
	}
}

// age is how long ago t was. A clock that was set back makes nothing old, and nothing young for ever.
func age(t time.Time) time.Duration { return max(0, time.Since(t)) }

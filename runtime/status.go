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
}

// AppStatus is how an app is doing, or did.
type AppStatus struct {
	*pods.App
	Runs int          `json:"runs"` // finished ones
	Last *pods.AppRun `json:"last,omitempty"`
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
		s.Status = append(s.Status, AppStatus{App: a, Runs: n, Last: last})
	}
	return s, s.readEnds(pod)
}

func (s *Status) readEnds(pod *pods.Pod) error {
	run, err := pod.Run()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
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

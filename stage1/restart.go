package stage1

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods"
)

// The waits between an app's end and its next start. One that ran for calm begins anew with the shortest.
const (
	shortestWait = 100 * time.Millisecond
	longestWait  = 10 * time.Second
	calm         = 10 * time.Second
)

// restarter knows when an app that ended is to be started again.
type restarter struct {
	policy   pods.RestartPolicy
	restarts int           // by policy
	wait     time.Duration // before the last of them
	at       time.Time     // of the next start; zero: none is due
	asked    bool          // somebody wants it stopped and started again, whatever the policy
	waiting  []func(error) // who wants to know when it is
	stopping []func(error) // who wants to know when it has stopped
}

// again decides whether the app is started again after run, and notes when, in run too.
func (r *restarter) again(run *pods.AppRun) bool {
	switch {
	case r.asked:
		r.asked, r.wait, r.at = false, 0, run.Finished
	case r.policy.Again(run.Code, r.restarts):
		r.restarts++
		r.wait = min(max(2*r.wait, shortestWait), longestWait)
		if run.Finished.Sub(run.Started) >= calm {
			r.wait = shortestWait
		}
		r.at = run.Finished.Add(r.wait)
	default:
		return false
	}
	run.Again = &r.at
	return true
}

// restart has the app started again: at once where it does not run, else when it has stopped, for which it has its usual time.
func (s *supervisor) restart(a *app) {
	switch {
	case a.hook == preStart: // as good as restarted
	case a.starting && a.hook == "": // it may run already, and have read what it is to read anew
		a.asked = true
	case a.pid != 0 && a.hook == "":
		a.asked = true
		s.askToStop(a)
	default:
		a.done, a.at = false, time.Now()
	}
	s.settle()
}

// tell answers all who wait for the app.
func (r *restarter) tell(err error) {
	for _, done := range r.waiting {
		done(err)
	}
	r.waiting = nil
}

// tellStopped answers all who wait for the app's end.
func (r *restarter) tellStopped() {
	for _, done := range r.stopping {
		done(nil)
	}
	r.stopping = nil
}

// dueAgain are the apps that wait for being started again and have waited long enough.
func (s *supervisor) dueAgain(now time.Time) []*app {
	var due []*app
	for a := range s.apps {
		if !a.at.IsZero() && !now.Before(a.at) && a.pid == 0 {
			due = append(due, a)
		}
	}
	return due
}

// rearm sets the timer to the next moment at which something is to be done.
func (s *supervisor) rearm() {
	next := s.dueReapers()
	for a := range s.apps {
		for _, at := range []time.Time{s.due(a), s.dueQuestion(a)} {
			if !at.IsZero() && (next.IsZero() || at.Before(next)) {
				next = at
			}
		}
	}
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
	if !next.IsZero() {
		s.timer = time.NewTimer(time.Until(next))
	}
}

// due is when something is to be done about the app; zero: never.
func (s *supervisor) due(a *app) time.Time {
	switch {
	case (a.pid != 0 || a.starting) && !a.killed:
		return a.deadline
	case a.pid == 0 && !s.ending && !s.launching: // the end of a launch is an event of its own
		return a.at
	}
	return time.Time{}
}

// killLate kills the apps that were asked to stop and had their time, and a launcher that has not started them in it.
func (s *supervisor) killLate() {
	now := time.Now()
	for a := range s.apps {
		if a.killed || a.deadline.IsZero() || now.Before(a.deadline) {
			continue
		}
		switch {
		case a.pid != 0:
			a.killed = true
			s.signalApp(a, unix.SIGKILL)
		case a.starting:
			a.killed = true
			s.killLauncher()
		}
	}
}

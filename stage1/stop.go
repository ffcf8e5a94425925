package stage1

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods"
)

// end begins the ordered stop: level by level, in the reverse order of the start. An app that waits for its next start is over.
func (s *supervisor) end() {
	s.ending = true
	s.refuseWaiting()
	s.settle()
}

// refuseWaiting tells who wants an app restarted that a stop came first.
func (s *supervisor) refuseWaiting() {
	for a := range s.apps {
		a.tell(errors.New("the pod is being stopped"))
	}
}

// stopNext asks the highest level that still runs to stop, and ends the reaper when nobody is left.
func (s *supervisor) stopNext() {
	for i := len(s.levels) - 1; i >= 0; i-- {
		if s.stopLevel(s.levels[i]) {
			return
		}
	}
	if !s.launching {
		s.killAll()
	}
}

// stopLevel reports whether an app of the level still runs.
func (s *supervisor) stopLevel(level []*app) bool {
	running := false
	for _, a := range level {
		if a.pid == 0 {
			if a.starting && a.deadline.IsZero() { // by a launcher that may hang: it has the time that the app would have
				a.deadline = time.Now().Add(time.Duration(a.StopTimeout) * time.Second)
			}
			running = running || s.pending(a)
			continue
		}
		running = true
		if s.killing { // its SIGKILL may not have come yet: a stop signal now would decide how it ends
			s.signalApp(a, unix.SIGKILL)
			continue
		}
		s.askToStop(a)
	}
	return running
}

// pending reports whether an app without a process still needs what it came after: its post-stop hook is due, or a launcher has it, and it may
// run already without our having heard of it.
func (s *supervisor) pending(a *app) bool { return a.cleanUp || a.starting && s.launching }

// askToStop sends the app its stop signal, once, and sets the time that it has left. (A post-stop hook has a time from its beginning.)
func (s *supervisor) askToStop(a *app) {
	if a.deadline.IsZero() {
		a.deadline = time.Now().Add(time.Duration(a.StopTimeout) * time.Second)
		s.signalApp(a, unix.SignalNum(a.StopSignal))
	}
}

// signalApp reaches the app and nobody else: it is our child and not yet reaped, so its PID cannot be another's.
func (s *supervisor) signalApp(a *app, sig unix.Signal) {
	if sig == 0 {
		sig = unix.SIGTERM
	}
	if err := unix.Kill(a.pid, sig); err != nil && !errors.Is(err, unix.ESRCH) {
		s.fail(ExitInternal, "signal app "+a.Name+": "+err.Error())
	}
}

// killAll ends every process of the pod at once.
func (s *supervisor) killAll() {
	s.ending, s.killing = true, true
	s.refuseWaiting()
	s.killLauncher()
	s.killReapers()
	s.killOutside()
}

func (s *supervisor) killLauncher() {
	if s.launcherPID > 0 {
		_ = unix.Kill(s.launcherPID, unix.SIGKILL) // our child, and not reaped yet
	}
}

// killOutside ends the processes that no PID namespace ends with the reaper: the cgroup says who is of the pod.
func (s *supervisor) killOutside() {
	if s.manifest.PID != pods.PIDHost || s.outside {
		return
	}
	s.outside = true
	for a := range s.apps {
		if a.pid != 0 { // it may have left its cgroup
			s.signalApp(a, unix.SIGKILL)
		}
	}
	s.killInBackground(s.cgroup.dirs, s.cgroup.supervisor, func(err error) {
		s.outside, s.undead = false, err
	})
}

// dismantle ends what may still live in the pod, and waits for it: nothing is undone under a living process.
func (s *supervisor) dismantle() {
	s.dismissLauncher()
	if s.reaper != nil && !s.reapersDead() {
		s.killReapers()
		for s.living() {
			select {
			case sig := <-s.signals:
				s.handle(sig)
			case <-s.children:
				s.reap()
			case then := <-s.kills:
				s.killed(then)
			}
		}
	}
	if err := s.finishOutput(); err != nil {
		s.fail(s.code, err.Error())
	}
	if err := s.streams.whyLost(); err != nil && s.code == 0 {
		s.fail(ExitInternal, err.Error())
		s.code = ExitInternal
	}
}

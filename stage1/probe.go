package stage1

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods"
)

// probe asks an app whether it is ready by running a command in it, as `gantry enter` does. The loop owns it: its process is a child like
// others, and its next question a moment for the timer. It ends when the app is ready, or over.
type probe struct {
	pid  int // of gantry-launch enter, while a command runs
	of   int // the run of the app that it asks
	at   time.Time
	wait time.Duration
}

// commandTime is what a command has for its answer; then it is killed, and has said no.
const commandTime = "10s"

// askApps starts the commands that are due.
func (s *supervisor) askApps() {
	for a := range s.apps {
		if at := s.dueQuestion(a); at.IsZero() || time.Now().Before(at) {
			continue
		}
		a.probe.wait = min(2*a.probe.wait, lastQuestion)
		if err := s.ask(a); errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.ENOMEM) {
			a.probe.at = time.Now().Add(a.probe.wait) // no room for another process: as good as a no
		} else if err != nil {
			s.fail(ExitInternal, "probe app "+a.Name+": "+err.Error())
			s.end()
		}
	}
}

// dueQuestion is when the app's command is to run again; zero: not now.
func (s *supervisor) dueQuestion(a *app) time.Time {
	if a.readiness.Kind != pods.ReadyExec || a.up || a.pid == 0 || a.hook != "" || a.probe.pid != 0 || s.ending {
		return time.Time{}
	}
	return a.probe.at
}

func (s *supervisor) ask(a *app) error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	argv := []string{
		"gantry-launch", "enter", "--run-dir=" + s.runDir, "--pod-dir=" + s.opts.Path, "--app=" + a.Name, "--init=" + s.initProgram.now(),
		"--limit=" + commandTime, "--",
	}
	a.probe.of = a.runs
	a.probe.pid, err = spawn(s.launchProgram.now(), append(argv, a.readiness.Command...), []*os.File{null, null, null}, nil)
	return err
}

// answeredProbe takes that a child was an app's probe, and how it ended.
func (s *supervisor) answeredProbe(pid int, status unix.WaitStatus) bool {
	a := s.find(func(a *app) bool { return a.probe.pid == pid })
	if a == nil {
		return false
	}
	a.probe.pid, a.probe.at = 0, time.Now().Add(a.probe.wait)
	if status.Exited() && status.ExitStatus() == 0 && a.pid != 0 && a.probe.of == a.runs {
		a.up = true
	}
	s.settle()
	return true
}

// endProbes ends those whose commands died with the pod, and reports whether there are any.
func (s *supervisor) endProbes() bool {
	found := false
	for a := range s.apps {
		if a.probe.pid != 0 {
			found = true
			_ = unix.Kill(a.probe.pid, unix.SIGKILL)
		}
	}
	return found
}

package stage1

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods"
)

// events are what the supervisor waits for. Nothing polls: an idle pod costs no wake-up.
type events struct {
	signals  chan os.Signal // that stop the pod
	resized  chan os.Signal // SIGWINCH and SIGCHLD, apart: of a hundred while the loop is busy one is enough, and none pushes out a SIGTERM
	children chan os.Signal
	answers  chan answer
	launched chan error // the launcher is done
	readied  chan *app  // the app is ready
	notes    chan note  // what an app says of itself
	watchdog watchdog
	fault    chan error // something of ours does not work
	killer
	timer       *time.Timer             // the next moment at which something is to be done; nil: none
	launching   bool                    // a launcher is at work
	launcherPID int                     // 0: reaped
	level       int                     // how many levels were started
	ready       bool                    // all of them, and it was said
	reaperDead  bool                    // the pod's, and with it every process of the pod, but in the PID namespaces of apps
	strays      map[int]unix.WaitStatus // children that died before the launcher told us their names
}

// verdict is how the pod ends.
type verdict struct {
	ending    bool // nothing is started any more
	stopAsked bool // by whatever signal
	impatient bool // by one of those whose second one kills
	code      int
	reason    string
	killing   bool  // every process of the pod, at once
	unclean   error // the last post-stop hook that went wrong
	// unrecorded says why the last record of a run that is missing could not be written.
	unrecorded error
	// notStarted says why an app could not be started, to whoever started the pod.
	notStarted error
}

const poweroff = syscall.Signal(pods.StopSignal)

// stopSignals ask the pod to end.
func stopSignals() []os.Signal {
	return []os.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGQUIT, unix.SIGHUP, poweroff}
}

func (s *supervisor) listen() {
	s.signals, s.resized, s.children = make(chan os.Signal, 16), make(chan os.Signal, 1), make(chan os.Signal, 1)
	s.answers = make(chan answer)
	s.launched = make(chan error)
	s.readied = make(chan *app)
	s.notes = make(chan note)
	s.watchdog = findWatchdog()
	s.fault = make(chan error)
	s.kills = make(chan func())
	s.closed = make(chan struct{})
	s.strays = map[int]unix.WaitStatus{}
	// Somebody who no longer reads what the apps say is no reason to end them: with a handler, the write fails instead.
	signal.Notify(make(chan os.Signal, 1), unix.SIGPIPE)
	signal.Notify(s.children, unix.SIGCHLD)
	signal.Notify(s.resized, unix.SIGWINCH)
	signal.Notify(s.signals, stopSignals()...)
}

// supervise starts the apps and returns when none of them is left and the reapers are dead.
func (s *supervisor) supervise() {
	s.settle()
	for s.living() || s.launching || s.launcherPID > 0 || s.endProbes() { // a launcher that is still going sits in the pod's cgroup
		var timeout <-chan time.Time
		if s.timer != nil {
			timeout = s.timer.C
		}
		select {
		case sig := <-s.signals:
			s.handle(sig)
		case <-s.resized:
			for a := range s.apps {
				a.terminal.resize()
			}
		case <-s.children:
			s.reap()
		case a := <-s.answers:
			s.answered(a)
		case err := <-s.launched:
			s.launchOver(err)
		case a := <-s.readied:
			a.up = true
			s.settle()
		case n := <-s.notes:
			s.noted(n)
		case <-s.watchdog.beat:
			s.beaten()
		case err := <-s.fault:
			s.fail(ExitInternal, err.Error())
			s.end()
		case o := <-s.orders:
			s.obey(o)
		case then := <-s.kills:
			s.killed(then)
		case <-timeout:
			s.killLate()
			s.askForLiving()
			s.settle()
		}
	}
}

func (s *supervisor) handle(sig os.Signal) {
	switch sig {
	case unix.SIGQUIT:
		s.stopAsked = true
		s.killAll()
	case poweroff: // however often, and by whomever
		s.stopAsked = true
		s.end()
	default:
		if s.impatient {
			s.killAll() // twice
			return
		}
		s.stopAsked, s.impatient = true, true
		s.end()
	}
}

// reap collects every dead child: apps, reaper, launchers, and what was orphaned to us.
func (s *supervisor) reap() {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || pid == 0 {
			return
		}
		if s.reaper != nil && pid == s.reaper.pid {
			s.reaperDead = true
			if !s.ending {
				s.fail(128+int(unix.SIGKILL), "the pod's reaper died")
			}
			s.ending = true
			s.killReapers()
			s.killOutside()
		} else if s.appReapers[pid] != nil {
			delete(s.appReapers, pid)
		} else if a := s.find(func(a *app) bool { return a.pid == pid }); a != nil {
			s.exited(a, status)
		} else if !s.answeredProbe(pid, status) {
			s.stray(pid, status)
		}
	}
}

// stray keeps how a child ended that is no app yet: its launcher may tell us its name later.
func (s *supervisor) stray(pid int, status unix.WaitStatus) {
	if pid == s.launcherPID {
		s.launcherPID = 0
		s.rest()
		return
	}
	if s.launching {
		s.strays[pid] = status
	}
}

// exited records the end of an app's process and draws the conclusion.
func (s *supervisor) exited(a *app, status unix.WaitStatus) {
	run := &pods.AppRun{Code: status.ExitStatus()}
	if status.Signaled() {
		run.Signal = unix.SignalName(status.Signal())
		run.Code = 128 + int(status.Signal())
	}
	if run.Signal == "SIGKILL" || run.Signal == "" && run.Code != 0 { // the second: of its children, one that it cannot do without
		run.OOMKilled = s.cgroup.oomKills(a.Name) > 0
	}
	if a.hook != "" {
		s.hookOver(a, run)
		return
	}
	a.cleanUp = a.PostStop != nil
	s.over(a, run)
}

// over records a run of an app that is over, and draws the conclusion: once more, or the end of the app, or of the pod.
func (s *supervisor) over(a *app, run *pods.AppRun) {
	a.pid, a.starting, a.killed, a.deadline = 0, false, false, time.Time{}
	run.Started, run.Finished = a.started, time.Now()
	if again := !s.ending && !a.held && a.again(run); !again {
		a.done = true
	}
	if err := s.pod.WriteAppRun(a.Name, a.runs, run); err != nil {
		s.unrecorded = err // a full disk: how the pod ends is the app's to say all the same
	}
	a.runs++
	if a.done {
		a.streams.out.end()
		a.streams.err.end()
		a.tellGone()
	}
	if a.terminal != nil { // another run has another one
		a.terminal.end()
	}
	if !a.cleanUp { // else when that is over
		a.tellStopped()
	}
	if a.done && run.Code != 0 && a.Essential && !a.held && !s.manifest.Sandbox {
		s.fail(run.Code, whyOver(a, run))
		s.end()
	}
	s.settle()
}

func whyOver(a *app, run *pods.AppRun) string {
	switch {
	case run.Reason != "":
		return fmt.Sprintf("start app %s: %s", a.Name, run.Reason)
	case run.OOMKilled && run.Signal != "":
		return fmt.Sprintf("app %s ran out of memory", a.Name)
	case run.OOMKilled:
		return fmt.Sprintf("app %s exited with %d, and ran out of memory", a.Name, run.Code)
	}
	return fmt.Sprintf("app %s exited with %d", a.Name, run.Code)
}

// openTerminal has the output of the app's terminal copied.
func (s *supervisor) openTerminal(a *app, master *os.File) {
	var err error
	if a.terminal, err = openTerminal(master, a.streams.terminal); err != nil {
		s.fail(ExitInternal, "terminal: "+err.Error())
		s.end()
	}
}

// settle draws the conclusion of what has happened: it goes on with a stop or a start that is under way, and ends the pod when no
// essential app is left. It comes after every event.
func (s *supervisor) settle() {
	s.startPostStops()
	if !s.ending {
		s.startNext()
		s.askApps()
	}
	stays := s.manifest.Sandbox || s.find(func(a *app) bool { return a.Essential && (!a.done || a.held) }) != nil
	if !s.ending && !s.launching && s.ready && !stays {
		s.ending = true
	}
	if s.ending {
		s.announce.stopping()
		s.stopNext()
	}
	s.rearm()
}

// fail sets how the pod ends; the first reason stays.
func (s *supervisor) fail(code int, reason string) {
	if s.reason == "" {
		s.code, s.reason = code, reason
	}
}

func (s *supervisor) find(match func(*app) bool) *app {
	for a := range s.apps {
		if match(a) {
			return a
		}
	}
	return nil
}

package stage1

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods"
)

// events are what the supervisor waits for. Nothing polls: an idle pod costs no wake-up.
type events struct {
	signals     chan os.Signal
	answers     chan answer
	launched    chan error              // the launcher of the current level is done
	timer       *time.Timer             // the next deadline of a stop; nil: none
	launching   bool                    // a launcher is at work
	launcherPID int                     // 0: reaped
	level       int                     // the level that was started last
	reaperDead  bool                    // and with it every process of the pod
	strays      map[int]unix.WaitStatus // children that died before the launcher told us their names
}

// verdict is how the pod ends.
type verdict struct {
	ending bool // nothing is started any more
	code   int
	reason string
	// notStarted says why an app could not be started, to whoever started the pod.
	notStarted error
}

func (s *supervisor) listen() {
	s.signals = make(chan os.Signal, 16)
	s.answers = make(chan answer)
	s.launched = make(chan error)
	s.strays = map[int]unix.WaitStatus{}
	signal.Notify(s.signals, unix.SIGCHLD, unix.SIGTERM, unix.SIGINT, unix.SIGQUIT, unix.SIGHUP, unix.SIGWINCH)
}

// supervise starts the apps and returns when none of them is left and the reaper is dead.
func (s *supervisor) supervise() {
	s.startLevel(0)
	for !s.reaperDead || s.launching {
		var timeout <-chan time.Time
		if s.timer != nil {
			timeout = s.timer.C
		}
		select {
		case sig := <-s.signals:
			s.handle(sig)
		case a := <-s.answers:
			s.answered(a)
		case err := <-s.launched:
			s.levelStarted(err)
		case <-timeout:
			s.stopNext()
		}
	}
}

func (s *supervisor) handle(sig os.Signal) {
	switch sig {
	case unix.SIGCHLD:
		s.reap()
	case unix.SIGQUIT:
		s.killAll()
	case unix.SIGWINCH:
		s.terminal.resize()
	default:
		if s.ending {
			s.killAll() // asked twice
			return
		}
		s.end()
	}
}

// startLevel asks the launcher for the apps of level n.
func (s *supervisor) startLevel(n int) {
	l, err := s.launcher, error(nil)
	if s.launcher = nil; l == nil {
		l, err = startLauncher(s.opts.Programs.Launch, s.streams.files, s.cgroup.fd())
	}
	s.level = n
	if err == nil {
		s.launcherPID = l.pid
		err = l.start(s.request(s.levels[n]), func(a answer) { s.answers <- a }, func(err error) { s.launched <- err })
	}
	if err != nil {
		s.fail(ExitInternal, err.Error())
		s.end()
		return
	}
	s.launching = true
}

func (s *supervisor) request(apps []*app) *pods.Launch {
	req := &pods.Launch{StateDir: filepath.Join(s.runDir, "lc"), Init: s.opts.Programs.Init}
	for _, a := range apps {
		req.Apps = append(req.Apps, pods.LaunchApp{
			Name:       a.Name,
			Config:     filepath.Join(s.opts.Path, pods.AppPath(a.Name, pods.ConfigFile)),
			Rootfs:     filepath.Join(s.opts.Path, pods.AppPath(a.Name, "rootfs")),
			Cgroup:     filepath.Join(s.cgroup.path, a.Name),
			Namespaces: s.reaper.paths(),
			Files:      a.files,
			Seccomp:    a.Seccomp,
			Stdin:      a.streams.stdin,
			Stdout:     a.streams.stdout,
			Stderr:     a.streams.stderr,
		})
	}
	return req
}

// answered takes what the launcher says of one app.
func (s *supervisor) answered(msg answer) {
	a := s.find(func(a *app) bool { return a.Name == msg.App })
	if a == nil || a.pid != 0 || a.done {
		return
	}
	a.started = time.Now()
	if msg.Error == "" && msg.PID <= 1 {
		msg.Code, msg.Error = ExitInternal, fmt.Sprintf("gantry-launch says that its process is %d", msg.PID)
	}
	if msg.Error != "" {
		s.finished(a, &pods.AppRun{Code: msg.Code, Reason: msg.Error})
		s.notStarted = fmt.Errorf("start app %s: %s", a.Name, msg.Error)
		s.fail(msg.Code, s.notStarted.Error())
		s.end()
		return
	}
	a.pid, a.oomKills = msg.PID, s.cgroup.oomKills(a.Name)
	if msg.terminal != nil {
		s.openTerminal(msg.terminal)
	}
	if status, dead := s.strays[a.pid]; dead {
		delete(s.strays, a.pid)
		s.exited(a, status)
	}
}

// levelStarted goes on to the next level, or says that the pod is ready.
func (s *supervisor) levelStarted(err error) {
	s.launching = false
	for _, a := range s.levels[s.level] {
		if a.pid == 0 && !a.done && err == nil {
			err = fmt.Errorf("start app %s: gantry-launch died", a.Name)
		}
	}
	switch {
	case err != nil:
		s.fail(ExitInternal, err.Error())
		s.end()
	case s.ending:
		s.stopNext()
	case s.level+1 < len(s.levels):
		s.startLevel(s.level + 1)
	default:
		s.streams.started()
		if err := s.pod.WriteReady(); err != nil {
			s.fail(ExitInternal, err.Error())
			s.end()
			return
		}
		s.announce.ready()
		s.settle()
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
			s.ending = true
		} else if a := s.find(func(a *app) bool { return a.pid == pid && !a.done }); a != nil {
			s.exited(a, status)
		} else {
			s.stray(pid, status)
		}
	}
}

// stray keeps how a child ended that is no app yet: its launcher may tell us its name later.
func (s *supervisor) stray(pid int, status unix.WaitStatus) {
	if pid == s.launcherPID {
		s.launcherPID = 0
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
		run.OOMKilled = status.Signal() == unix.SIGKILL && s.cgroup.oomKills(a.Name) > a.oomKills
	}
	s.finished(a, run)
	if run.Code != 0 && a.Essential {
		reason := fmt.Sprintf("app %s exited with %d", a.Name, run.Code)
		if run.OOMKilled {
			reason = fmt.Sprintf("app %s ran out of memory", a.Name)
		}
		s.fail(run.Code, reason)
		s.end()
	}
	s.settle()
}

// openTerminal joins the app's terminal to the caller's.
func (s *supervisor) openTerminal(master *os.File) {
	var err error
	if s.terminal, err = openTerminal(master); err != nil {
		s.fail(ExitInternal, "terminal: "+err.Error())
		s.end()
	}
}

func (s *supervisor) finished(a *app, run *pods.AppRun) {
	a.done = true
	run.Started, run.Finished = a.started, time.Now()
	if err := s.pod.WriteAppRun(a.Name, a.runs, run); err != nil {
		s.fail(ExitInternal, err.Error())
	}
	a.runs++
}

// settle ends the pod when no essential app is left, and goes on with a stop that is under way.
func (s *supervisor) settle() {
	if s.ending {
		s.stopNext()
		return
	}
	if s.launching || s.level+1 < len(s.levels) {
		return
	}
	if s.find(func(a *app) bool { return a.Essential && !a.done }) == nil {
		s.end()
	}
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

// parseStartTime finds field 22 of a line of /proc/PID/stat, whose second field may hold anything.
func parseStartTime(stat string) (uint64, error) {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 {
		return 0, fmt.Errorf("read start time: unexpected line %q", stat)
	}
	return strconv.ParseUint(fields[19], 10, 64)
}

package stage1

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods"
)

// startNext starts what is due: an app that is to be started again, else the next level when the one before is up; else it says
// that the pod is ready. There is one launcher at a time.
func (s *supervisor) startNext() {
	if s.launching {
		return
	}
	if due := s.dueAgain(time.Now()); len(due) > 0 {
		s.launch(due)
		return
	}
	if s.level > 0 && !isUp(s.levels[s.level-1]) {
		return
	}
	if s.level < len(s.levels) {
		s.level++
		s.announce.starting(s.levels[s.level-1])
		s.launch(s.levels[s.level-1])
		return
	}
	if !s.ready {
		s.ready = true
		if err := s.pod.WriteReady(); err != nil {
			s.fail(ExitInternal, err.Error())
			s.end()
			return
		}
		s.announce.ready()
		s.watchdog.start()
		s.register()
		s.rest()
	}
}

// isUp reports whether what comes after the level may be started.
func isUp(level []*app) bool {
	for _, a := range level {
		if !a.up && !a.done {
			return false
		}
	}
	return true
}

// launch has a launcher start the apps.
func (s *supervisor) launch(apps []*app) {
	for _, a := range apps {
		a.starting = true
		a.chooseHook()
	}
	err := s.renewReapers(apps) // before the launcher is taken: one that is not is dismissed
	var l *launcher
	if err == nil {
		l, err = s.takeLauncher()
	}
	if l != nil {
		s.launcherPID = l.pid
		clear(s.strays)
		if err == nil {
			req, files := s.request(apps)
			req.Held = s.hold
			err = l.start(req, files, func(a answer) { s.answers <- a }, func(err error) { s.launched <- err })
		}
		if err != nil {
			_ = l.socket.Close() // it ends, and is reaped like any other
		}
	}
	s.launching = true
	switch { // no room for another process, say: a start that failed, like others
	case err != nil && s.hold:
		go func() { s.launched <- err }() // for the loop to hear
	case err != nil:
		s.launchFailed(err)
	case s.hold:
		s.held = l
	}
}

// takeLauncher returns the launcher that was started ahead, or a new one.
func (s *supervisor) takeLauncher() (*launcher, error) {
	l := s.launcher
	if s.launcher = nil; l == nil {
		return startLauncher(s.launchProgram.now())
	}
	return l, nil
}

// request returns what the launcher is asked, and the descriptors that it needs for that.
func (s *supervisor) request(apps []*app) (*pods.Launch, []*os.File) {
	req := &pods.Launch{StateDir: filepath.Join(s.runDir, "lc"), Init: s.initProgram.now()}
	for _, a := range apps {
		config, filter := a.toRun()
		req.Apps = append(req.Apps, pods.LaunchApp{
			Name:       a.Name,
			Config:     filepath.Join(s.opts.Path, pods.AppPath(a.Name, config)),
			Rootfs:     s.rootfs(a.App),
			Cgroup:     filepath.Join(s.cgroup.path, a.Name),
			Namespaces: s.namespacesOf(a),
			Files:      a.files,
			Yield:      a.yield,
			Users:      s.users,
			Seccomp:    filter,
			Sockets:    a.passed,
			Env:        append(s.watchdogEnv(a), a.env...),
			Stdin:      a.streams.stdin,
			Stdout:     a.streams.stdout,
			Stderr:     a.streams.stderr,
		})
		last := &req.Apps[len(req.Apps)-1]
		if a.hook != "" {
			keepFromHook(last)
		}
		if a.Stdin == pods.StreamTTY && a.streams.terminal == nil { // joined to the caller's, which is not at once
			if size := callerSize(); size != nil {
				last.Rows, last.Columns = size.Row, size.Col
			}
		}
	}
	return req, s.streams.pass(req)
}

// answered takes what the launcher says of one app.
func (s *supervisor) answered(msg answer) {
	a := s.find(func(a *app) bool { return a.Name == msg.App })
	if a == nil || !a.starting {
		return
	}
	a.starting, a.started = false, time.Now()
	a.killed, a.deadline = false, time.Time{}
	s.streams.giveBack()
	if msg.Warning != "" && !a.ran {
		s.opts.warn(msg.Warning)
	}
	if msg.Error == "" && msg.PID <= 1 {
		msg.Code, msg.Error = ExitInternal, fmt.Sprintf("gantry-launch says that its process is %d", msg.PID)
	}
	if msg.Error != "" {
		if a.hook != "" {
			s.hookOver(a, &pods.AppRun{Code: msg.Code, Reason: msg.Error})
			return
		}
		s.notStartedApp(a, msg)
		return
	}
	a.pid = msg.PID
	if a.hook != "" {
		s.hookRuns(a)
	} else {
		s.appRuns(a, msg.terminal)
	}
	if status, dead := s.strays[a.pid]; dead {
		delete(s.strays, a.pid)
		s.exited(a, status)
	}
}

// appRuns takes that the app's own program has been executed.
func (s *supervisor) appRuns(a *app, terminal *os.File) {
	a.ran = true
	a.streams.out.begin()
	a.streams.err.begin()
	if a.asked && !s.ending { // to be started anew, while it was being started
		s.askToStop(a)
	} else {
		a.tell(nil)
	}
	s.awaitApp(a)
	if terminal != nil {
		s.openTerminal(a, terminal)
	}
}

// notStartedApp takes that an app could not be started. The first time that fails the pod, whatever the app's policy is: nothing
// would get better by itself, and whoever started the pod wants to know. Later it is a run that failed like others.
func (s *supervisor) notStartedApp(a *app, msg answer) {
	switch {
	case a.ran:
	case a.Added || s.manifest.Sandbox:
		a.held = true // the pod is none the worse
	default:
		a.policy = pods.RestartPolicy{}
		s.notStarted = fmt.Errorf("start app %s: %s", a.Name, msg.Error)
		s.fail(msg.Code, s.notStarted.Error())
		s.ending = true
	}
	a.asked = false
	a.tell(errors.New(msg.Error))
	s.over(a, &pods.AppRun{Code: msg.Code, Reason: msg.Error})
}

// launchOver takes that the launcher is done, with err or without. An app of which it said nothing counts as not started; but it may run, if the
// launcher was killed: nobody would know of it, and it would be in the way of every other start.
func (s *supervisor) launchOver(err error) {
	var unknown []string
	for a := range s.apps {
		if a.starting {
			unknown = append(unknown, s.appCgroups(a.Name)...)
		}
	}
	if unknown == nil || s.killing {
		s.launchFailed(err)
		return
	}
	s.killInBackground(unknown, "", func(undead error) {
		if err == nil {
			err = undead
		}
		s.launchFailed(err)
	})
}

// launchFailed ends the starts of which nobody said how they ended.
func (s *supervisor) launchFailed(err error) {
	code, why := ExitInternal, "gantry-launch died"
	switch {
	case s.killing: // by us: the app may even have run
		code, why = 128+int(unix.SIGKILL), "the pod was killed while it started"
	case s.find(func(a *app) bool { return a.starting && a.killed }) != nil:
		code, why = 128+int(unix.SIGKILL), "the pod was stopped, and gantry-launch did not get on in the stop timeout"
	case err != nil:
		why = err.Error()
	}
	for a := range s.apps {
		if a.starting {
			s.answered(answer{Launched: pods.Launched{App: a.Name, Code: code, Error: why}})
		}
	}
	s.launching = false
	s.settle()
}

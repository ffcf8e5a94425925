package stage1

import (
	"fmt"
	"time"

	"github.com/gantryrun/gantry/pods"
)

// hooks are what an app's hooks add to its life. A hook is a run of the app's own container, with another program, as root:
//
//	due ──▶ pre-start ──▶ the app's program ──▶ post-stop ──▶ due again, or over
//
// While one of them runs, its process is the app's.
type hooks struct {
	hook     string // preStart or postStop, while it is being started or runs
	prepared bool   // pre-start is over: the program is next
	cleanUp  bool   // the program has ended: post-stop is next
}

const (
	preStart = "pre-start"
	postStop = "post-stop"
)

// chooseHook decides what a launcher starts for the app now. A post-stop leaves alone when the app is to be started again.
func (a *app) chooseHook() {
	switch {
	case a.cleanUp:
		a.hook, a.cleanUp = postStop, false
	case a.PreStart != nil && !a.prepared:
		a.hook, a.at = preStart, time.Time{}
	default:
		a.prepared, a.at = false, time.Time{}
	}
}

// toRun is the configuration of what chooseHook decided on, and its filter.
func (a *app) toRun() (string, *pods.Seccomp) {
	switch a.hook {
	case preStart:
		return pods.PreStartFile, a.PreStart.Seccomp
	case postStop:
		return pods.PostStopFile, a.PostStop.Seccomp
	}
	return pods.ConfigFile, a.Seccomp
}

// keepFromHook keeps what was meant for the app's own program: input, and connections that wait.
func keepFromHook(l *pods.LaunchApp) { l.Stdin, l.Sockets = -1, nil }

// startPostStops starts what is due. A kill leaves nobody whom they could be of use.
func (s *supervisor) startPostStops() {
	if s.launching {
		return
	}
	var due []*app
	for a := range s.apps {
		if s.killing || s.reaperDead {
			a.cleanUp = false
		}
		if a.cleanUp {
			due = append(due, a)
		}
	}
	if len(due) > 0 {
		s.launch(due)
	}
}

// hookRuns takes that the hook has been started. A post-stop has the time that its app had.
func (s *supervisor) hookRuns(a *app) {
	if a.hook == postStop {
		a.deadline = time.Now().Add(time.Duration(a.StopTimeout) * time.Second)
	}
}

// hookOver takes that the hook has ended, or could not be started.
func (s *supervisor) hookOver(a *app, run *pods.AppRun) {
	hook, killed := a.hook, a.killed
	a.hook, a.pid, a.starting, a.killed, a.deadline = "", 0, false, false, time.Time{}
	if why := whyHook(run, killed); why != "" {
		run.Reason = hook + " hook " + why
	}
	if hook == postStop {
		s.postStopOver(a, run)
		return
	}
	switch {
	case run.Code == 0 && !s.ending:
		a.prepared, a.at = true, time.Now()
		s.settle()
	case s.ending:
		s.over(a, run)
	default:
		s.notStartedApp(a, answer{Launched: pods.Launched{App: a.Name, Code: run.Code, Error: run.Reason}})
	}
}

func whyHook(run *pods.AppRun, killed bool) string {
	switch {
	case run.Code == 0:
		return ""
	case run.Reason != "":
		return "did not start: " + run.Reason
	case run.OOMKilled:
		return "ran out of memory"
	case killed:
		return "was killed: it took longer than the stop timeout"
	case run.Signal != "":
		return "was ended by " + run.Signal
	}
	return fmt.Sprintf("exited with %d", run.Code)
}

// postStopOver records how the hook ended. The app's own end decides how the pod ends; that this went wrong is said beside it.
func (s *supervisor) postStopOver(a *app, run *pods.AppRun) {
	run.Started, run.Finished = a.started, time.Now()
	if err := s.pod.WritePostStop(a.Name, a.runs-1, run); err != nil {
		s.unrecorded = err
	}
	if run.Code != 0 {
		s.unclean = fmt.Errorf("app %s: %s", a.Name, run.Reason)
	}
	a.tellStopped()
	s.settle()
}

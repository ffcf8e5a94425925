package stage1

import (
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/gantryrun/gantry/pods"
)

// app is one app of the pod while it runs.
type app struct {
	*pods.App
	streams  appStreams
	terminal *terminal           // of its last run, if it has one
	reaper   *reaper             // of its last run, where it has a PID namespace of its own
	sockets  []*Socket           // that it takes
	env      []string            // that only the running pod knows
	passed   []pods.LaunchSocket // the same, as the launcher counts them
	files    map[string]string   // what of /etc is bound into it
	yield    []string            // what of files a mount of its own takes the place of
	starting bool                // a launcher has it
	pid      int                 // 0: it does not run
	started  time.Time
	deadline time.Time // of being killed, once it was asked to stop
	killed   bool
	ran      bool // it has been started once
	up       bool // and is ready: what comes after it may follow
	asking   bool // whether it is ready
	probe    probe
	done     bool          // and is not started again
	held     bool          // somebody stopped it: so it stays, and its pod too
	leaving  bool          // it is being removed
	gone     chan struct{} // closed when it is done; nil: nobody waits for that
	runs     int           // that are over
	restarter
	hooks
	readiness pods.Readiness
	alive     time.Time     // when it last said WATCHDOG=1
	notify    *net.UnixConn // where it says so; may be nil
	removed   atomic.Bool   // nobody asks any more whether it is ready
}

func newApp(a *pods.App) (*app, error) {
	policy, err := pods.ParseRestart(a.Restart)
	if err != nil {
		return nil, fmt.Errorf("app %s: %w", a.Name, err)
	}
	ready, err := pods.ParseReady(a.Ready)
	if err != nil {
		return nil, fmt.Errorf("app %s: %w", a.Name, err)
	}
	return &app{App: a, restarter: restarter{policy: policy}, readiness: ready}, nil
}

func (s *supervisor) apps(yield func(*app) bool) {
	for _, level := range s.levels {
		for _, a := range level {
			if !yield(a) {
				return
			}
		}
	}
}

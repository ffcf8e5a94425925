package stage1

import (
	"errors"
	"fmt"
	"time"

	"github.com/gantryrun/gantry/pods"
)

// renewReapers gives each of the apps, which are about to be started, a new PID namespace if the pod is one of --pid=app. The one of the run
// before may be on its way out, which nobody tells until its last process is gone; and what that run left ends before a new one anyway.
//
// The namespaces are not below that of the pod's reaper, since the kernel makes one only below its maker's own: they end one by one, and the
// pod is over when all their reapers are dead.
func (s *supervisor) renewReapers(apps []*app) error {
	if s.manifest.PID != pods.PIDApp {
		return nil
	}
	if s.appReapers == nil {
		s.appReapers = map[int]*reaper{}
	}
	for _, a := range apps {
		a.endReaper()
		r, err := bear(birth{program: s.initProgram.now(), own: func(name string) bool { return name == "pid" }, users: s.reaper.ns["user"]})
		if err == nil {
			if err = r.await(); err != nil {
				err = errors.Join(err, r.discard())
			}
		}
		if err != nil {
			return fmt.Errorf("start reaper of app %s: %w", a.Name, err)
		}
		a.reaper, s.appReapers[r.pid] = r, r
	}
	return nil
}

// namespacesOf are the paths of the namespaces that the app joins.
func (s *supervisor) namespacesOf(a *app) map[string]string {
	paths := s.reaper.paths()
	if a.reaper != nil {
		paths["pid"] = a.reaper.paths()["pid"]
	}
	return paths
}

// endReaper ends all that is left in the app's own PID namespace, if it has one.
func (a *app) endReaper() {
	if a.reaper != nil {
		a.reaper.kill()
		a.reaper.close()
		a.reaper = nil
	}
}

// reapersDead reports whether every reaper of the pod has been reaped, and so every process that has one.
func (s *supervisor) reapersDead() bool { return s.reaperDead && len(s.appReapers) == 0 }

// killReapers kills the pod by way of its reapers.
func (s *supervisor) killReapers() {
	if s.reaper != nil && !s.reaperDead {
		s.reaper.kill()
	}
	for _, r := range s.appReapers {
		r.kill() // one that is closed was killed before
	}
	if s.askAt.IsZero() {
		s.askAt = time.Now().Add(collectPatience)
		s.rearm()
	}
}

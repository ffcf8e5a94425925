package stage1

import (
	"context"
	"slices"

	"github.com/gantryrun/gantry/pods"
)

// join gives the apps their network, if only a loopback, and what tells them of it. To attach takes as long as to start an app up to its last step,
// so the launcher does that meanwhile, and holds the apps there:
//
//	supervisor                       gantry-launch
//	  ├── request, held ─────────────▶ │ the second stages of the first apps
//	  │ networks, /etc/hosts           │
//	  ├── an empty line ─────────────▶ │
//	  │ what the pod needs later       │ executes their programs
//
// None executes an instruction without its network: when that cannot be had, or the supervisor dies, they are killed where they are.
func (s *supervisor) join(ctx context.Context) error {
	ahead := len(s.levels) > 0 && !s.networkDecides()
	if !ahead {
		if err := s.attach(ctx); err != nil {
			return err
		}
	}
	for a := range s.apps {
		var err error
		if a.files, a.yield, err = etcFiles(s.manifest, s.netDNS, s.runDir, s.rootfs(a.App)); err != nil {
			return err
		}
		if err := s.openNotify(a); err != nil {
			return err
		}
	}
	if err := s.openCredentials(); err != nil {
		return err
	}
	if ahead {
		s.hold = true
		s.startNext()
		s.hold = false
		if err := s.attach(ctx); err != nil {
			return err
		}
	}
	if err := s.fillEtc(); err != nil {
		return err
	}
	if s.held != nil {
		s.held.release()
		s.held = nil
	}
	keepThreads()
	if !s.stays() {
		rehearse()
	}
	return nil
}

// rehearse has encoding/json learn the types of the last records while the launcher works. It keeps what it has learned: a pod that is to stay
// goes without.
func rehearse() {
	for _, record := range []any{&pods.AppRun{}, &pods.Exit{}} {
		_, _ = pods.Marshal(record)
	}
}

// networkDecides reports whether a network may decide where the apps have their resolv.conf from, because the user did not.
func (s *supervisor) networkDecides() bool {
	if !slices.ContainsFunc(s.manifest.Networks, func(n pods.Network) bool { return !n.NoDNS }) {
		return false
	}
	_, from := resolvFile(s.manifest, pods.DNS{}, false)
	return from == resolvFallback
}

func (s *supervisor) fillEtc() error {
	for a := range s.apps {
		if err := fillEtc(a.files, s.manifest, s.net, s.netDNS); err != nil {
			return err
		}
	}
	return nil
}

// abandon kills the apps that are held. They have not run, and have no run to record.
func (s *supervisor) abandon() {
	if !s.launching {
		return
	}
	for a := range s.apps {
		a.starting = false
	}
	s.killAll()
	s.supervise()
}

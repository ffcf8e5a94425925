package stage1

import (
	"fmt"
	"os"

	"github.com/gantryrun/gantry/pods"
)

// Socket is one that the unit passed to the supervisor, for an app (socket activation). The unit keeps its own, and with it the
// backlog: nobody who connects while the pod is being started again is turned away.
type Socket struct {
	Name string
	File *os.File
}

// shareSockets finds out who takes which socket, and makes nothing. One that no app takes would answer nobody: that is an error, but in a
// pod of one app, which takes them all.
func (s *supervisor) shareSockets() error {
	taken := make([]bool, len(s.opts.Sockets))
	only := len(s.levels) == 1 && len(s.levels[0]) == 1
	for a := range s.apps {
		for _, want := range a.Sockets {
			found := false
			for i := range s.opts.Sockets {
				if s.opts.Sockets[i].Name == want.Name {
					found, taken[i] = true, true
					a.sockets = append(a.sockets, &s.opts.Sockets[i])
				}
			}
			if !found && !want.Optional {
				return fmt.Errorf("app %s: --socket=%s: the unit passes no socket of that name: is FileDescriptorName=%s in its socket unit, and that active?", a.Name, want.Name, want.Name)
			}
		}
	}
	for i := range s.opts.Sockets {
		switch {
		case taken[i]:
		case only:
			a := s.levels[0][0]
			a.sockets = append(a.sockets, &s.opts.Sockets[i])
		default:
			return fmt.Errorf("the unit passes a socket %q that no app takes: say --socket=%s after the image of one", s.opts.Sockets[i].Name, s.opts.Sockets[i].Name)
		}
	}
	return nil
}

// openSockets has the launcher get the app's sockets.
func (s *supervisor) openSockets(a *app) {
	for _, socket := range a.sockets {
		a.passed = append(a.passed, pods.LaunchSocket{FD: s.streams.add(socket.File), Name: socket.Name})
	}
}

package launch

import (
	"encoding/json"
	"net"

	"github.com/opencontainers/runc/libcontainer"

	"github.com/gantryrun/gantry/pods"
)

// guard has the supervisor end what a command that entered has started itself, should its client, us, be killed: of that the kernel tells the
// command alone. Without a supervisor that listens there is none.
type guard struct {
	socket string // of the supervisor; empty: nobody is to be asked
	app    string
	conn   net.Conn
}

// watch begins with the command.
func (g *guard) watch(process *libcontainer.Process) {
	pid, err := process.Pid()
	if err != nil || g.socket == "" {
		return
	}
	if g.conn, err = net.Dial("unix", g.socket); err == nil {
		g.say(pods.ControlRequest{Version: pods.Version, Verb: pods.ControlGuard, App: g.app, Session: pid})
	}
}

// dismiss says that we have seen the command's end: what it has left is meant to stay.
func (g *guard) dismiss() {
	if g.conn != nil {
		g.say(pods.ControlRequest{Version: pods.Version, Verb: pods.ControlGuard})
		_ = g.conn.Close()
	}
}

func (g *guard) say(r pods.ControlRequest) { _ = json.NewEncoder(g.conn).Encode(r) }

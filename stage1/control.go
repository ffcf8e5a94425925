package stage1

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods"
)

// control is the pod's socket: what clients want is done by the loop, like everything else.
//
//	client                 goroutine of its connection              the loop
//	  ├── a line of JSON ─────▶ │ is it root? ── order ──────────────▶ │ asks an app to stop, starts it again
//	  │ ◀── a line of JSON ──── │ ◀────────────────────────── done ─── │
type control struct {
	orders chan order
	closed chan struct{} // when the loop takes no more
}

// order is what a client wants. done is called once, with nil or what was wrong.
type order struct {
	pods.ControlRequest
	session *session // what the loop has for the client; settled when done is called
	done    func(error)
}

// patience is what a client has to say what it wants.
const patience = 5 * time.Second

// maxRequest bounds what is read of one.
const maxRequest = 64 << 10

// openControl makes the socket, in a directory that only root can enter. It goes with the run directory.
func (s *supervisor) openControl() error {
	s.orders = make(chan order)
	l, err := listen(filepath.Join(s.runDir, pods.ControlFile))
	if err != nil {
		return fmt.Errorf("make control socket: %w", err)
	}
	s.undo.push("control socket", func(context.Context) error { return l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // closed
			}
			if c, ok := c.(*net.UnixConn); ok {
				go s.serve(c)
			}
		}
	}()
	return nil
}

// listen is net.Listen without its look at how many may wait, for which it reads a file of /proc into a buffer of 64 kB that
// stays in the heap of every pod.
func listen(path string) (net.Listener, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil { // before anybody can connect
		return nil, err
	}
	if err := unix.Listen(fd, 16); err != nil {
		return nil, err
	}
	return net.FileListener(f)
}

// serve hears one client.
func (s *supervisor) serve(c *net.UnixConn) {
	defer c.Close()
	session := &session{conn: c}
	defer session.end()
	in := json.NewDecoder(io.LimitReader(c, maxRequest))
	err := s.hear(c, in, session)
	session.reply(err)
	if !session.attached || c.SetReadDeadline(time.Time{}) != nil {
		return
	}
	defer session.untilOver()()
	for err == nil {
		err = s.hear(c, in, session) // to its end
	}
}

// hear takes one request.
func (s *supervisor) hear(c *net.UnixConn, in *json.Decoder, session *session) error {
	if err := checkPeer(c); err != nil {
		return err
	}
	o := order{session: session}
	if !session.attached {
		if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
	}
	if err := in.Decode(&o.ControlRequest); err != nil {
		return fmt.Errorf("read request: %w", err)
	}
	if o.Version != pods.Version {
		return fmt.Errorf("%w: %q", pods.ErrVersion, o.Version)
	}
	if o.Verb == pods.ControlGuard {
		return s.guard(c, in, o.ControlRequest)
	}
	done := make(chan error, 1)
	o.done = func(err error) { done <- err }
	select {
	case s.orders <- o:
	case <-s.closed:
		return errOver
	}
	select {
	case err := <-done:
		return err
	case <-s.closed:
	}
	select {
	case err := <-done: // it was answered before
		return err
	default:
		return errOver
	}
}

// errOver is for clients that come while the pod is being dismantled, and for those that still wait then.
var errOver = errors.New("the pod is over")

// checkPeer refuses everybody but root. The socket's mode does, too: this holds for who got hold of a descriptor.
func checkPeer(c *net.UnixConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) { cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return err
	}
	if credErr != nil {
		return fmt.Errorf("who asks: %w", credErr)
	}
	if cred.Uid != 0 {
		return fmt.Errorf("user %d may not control the pod", cred.Uid)
	}
	return nil
}

// obey does what a client wants, or tells it why not.
func (s *supervisor) obey(o order) {
	a := s.find(func(a *app) bool { return a.Name == o.App })
	switch {
	case o.Verb == pods.ControlAdd:
		o.done(s.addApp(o.App, a != nil))
	case a == nil && (o.Verb == pods.ControlStart || o.Verb == pods.ControlRemove):
		s.adopt(o)
	case a != nil && a.leaving:
		o.done(fmt.Errorf("app %s is being removed", a.Name))
	case a != nil && a.removed.Load() && o.Verb != pods.ControlRemove:
		o.done(fmt.Errorf("app %s was not removed to its end: remove it again (gantry app rm)", a.Name))
	case a == nil:
		o.done(fmt.Errorf("the pod has no app %q", o.App))
	case o.Verb == pods.ControlRestart:
		s.obeyRestart(a, o.done)
	case o.Verb == pods.ControlStart:
		s.obeyStart(a, o.done)
	case o.Verb == pods.ControlStop:
		s.obeyStop(a, o.done)
	case o.Verb == pods.ControlRemove:
		s.removeApp(a, o.done)
	case o.Verb == pods.ControlStreams:
		o.session.names = a.attachable()
		o.done(nil)
	case o.Verb == pods.ControlAttach:
		o.done(s.attachClient(a, o))
	case o.Verb == pods.ControlEOF:
		o.done(a.streams.endInput())
	default:
		o.done(fmt.Errorf("unknown request %q", o.Verb))
	}
}

func (s *supervisor) obeyRestart(a *app, done func(error)) {
	switch {
	case s.ending:
		done(errors.New("the pod is being stopped"))
	case !a.ran:
		done(fmt.Errorf("app %s has not been started yet", a.Name))
	case a.terminal != nil && a.terminal.joined:
		done(fmt.Errorf("app %s has the caller's terminal, and cannot be started again", a.Name))
	default:
		a.held = false
		a.waiting = append(a.waiting, done)
		s.restart(a)
	}
}

package stage1

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods"
)

// session is a client at the control socket: what it is given, and what it listens to. Only its connection's goroutine has it, and, while
// that waits for it, the loop.
//
//	client                      its goroutine                 the loop
//	  ├── attach ─────────────────▶ │ ── order ────────────────▶ │ adds it to the app's taps
//	  │ ◀── names, descriptors ──── │ ◀───────────────── done ── │
//	  │ ◀── output, by its own pipes, from the goroutines that copy it
//	  ├── input, to the app's own pipe or terminal
//	  ├── end of the connection ──▶ │ leaves the taps
type session struct {
	conn     *net.UnixConn
	attached bool
	names    []string
	files    []int // descriptors for the client, one for each name
	left     []func()
	over     <-chan struct{} // closed when the app is; nil: the end of its output says so
}

// attachable are the streams of the app that clients can attach to now.
func (a *app) attachable() []string {
	if a.terminal != nil {
		return []string{pods.AttachTTYIn, pods.AttachTTYOut}
	}
	names := []string{}
	if a.streams.in != nil {
		names = append(names, pods.AttachStdin)
	}
	if a.streams.out != nil {
		names = append(names, pods.AttachStdout)
	}
	if a.streams.err != nil {
		names = append(names, pods.AttachStderr)
	}
	return names
}

// attachClient gives a client the streams of the app that it wants.
func (s *supervisor) attachClient(a *app, o order) error {
	have, want := a.attachable(), o.Streams
	switch {
	case o.session.attached:
		return errors.New("this connection is attached already")
	case a.done:
		return fmt.Errorf("app %s is over", a.Name)
	case a.Stdin == pods.StreamTTY && a.terminal == nil:
		return fmt.Errorf("app %s is being started: try again", a.Name)
	case len(have) == 0:
		return fmt.Errorf("app %s has nothing to attach to: run it with --stdin=stream, --stdout=stream or --tty", a.Name)
	case len(want) == 0:
		want = have
	}
	o.session.attached = true
	for _, name := range want {
		if !slices.Contains(have, name) {
			return fmt.Errorf("app %s has no %s to attach to: it has %s", a.Name, name, strings.Join(have, ", "))
		}
		fd, err := o.session.open(a, name)
		if err != nil {
			return fmt.Errorf("attach to %s of app %s: %w", name, a.Name, err)
		}
		o.session.names, o.session.files = append(o.session.names, name), append(o.session.files, fd)
	}
	if len(o.session.left) == 0 { // it listens to nothing
		if a.gone == nil {
			a.gone = make(chan struct{})
		}
		o.session.over = a.gone
	}
	return nil
}

// tellGone lets those go who only write to the app.
func (a *app) tellGone() {
	if a.gone != nil {
		close(a.gone)
		a.gone = nil
	}
}

func (c *session) open(a *app, name string) (int, error) {
	switch name {
	case pods.AttachStdin:
		return duplicate(a.streams.in)
	case pods.AttachStdout:
		return c.listen(a.streams.out)
	case pods.AttachStderr:
		return c.listen(a.streams.err)
	case pods.AttachTTYIn:
		return duplicate(a.terminal.file)
	}
	return c.listen(a.terminal.tap)
}

// duplicate is f for a client, however long we have it ourselves.
func duplicate(f *os.File) (int, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return -1, err
	}
	fd, dupErr := -1, error(nil)
	err = raw.Control(func(own uintptr) { fd, dupErr = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 0) })
	return fd, errors.Join(err, dupErr)
}

func (c *session) listen(t *tap) (int, error) {
	l, fd, err := t.listen(c.tell)
	if err == nil {
		c.left = append(c.left, func() { t.leave(l) })
	}
	return fd, err
}

// tell says how much the client lost. It is one line, for which its socket has room.
func (c *session) tell(lost uint64) {
	_ = c.conn.SetWriteDeadline(time.Now().Add(time.Second))
	c.write(pods.ControlReply{Lost: lost}, nil)
}

// untilOver ends what is read of the client when the app is over, or done is called.
func (c *session) untilOver() (done func()) {
	if c.over == nil {
		return func() {}
	}
	stop := make(chan struct{})
	go func() {
		select {
		case <-c.over:
			_ = c.conn.CloseRead()
		case <-stop:
		}
	}()
	return func() { close(stop) }
}

// reply answers the client, with its descriptors.
func (c *session) reply(err error) {
	if err != nil {
		c.write(pods.ControlReply{Error: err.Error()}, nil)
		return
	}
	var rights []byte
	if len(c.files) > 0 {
		rights = unix.UnixRights(c.files...)
	}
	c.write(pods.ControlReply{Streams: c.names}, rights)
	c.release()
}

func (c *session) write(r pods.ControlReply, rights []byte) {
	data, err := json.Marshal(r)
	if err == nil {
		_, _, _ = c.conn.WriteMsgUnix(append(data, '\n'), rights, nil) // who asked may have gone
	}
}

// release closes our copies of what is the client's.
func (c *session) release() {
	for _, fd := range c.files {
		_ = unix.Close(fd)
	}
	c.files = nil
}

// end lets the client go.
func (c *session) end() {
	c.release()
	for _, leave := range c.left {
		leave()
	}
}

// endInput ends what the app reads, when no client holds it any more.
func (a *appStreams) endInput() error {
	if a.in == nil {
		return errors.New("the app's stdin has ended already, or is not for clients")
	}
	err := a.in.Close()
	a.in = nil
	return err
}

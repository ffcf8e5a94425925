package runtime

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods"
	"github.com/gantryrun/gantry/runtime/attach"
)

// AttachOptions of Attach.
type AttachOptions struct {
	App        string   // may be empty where the pod has one
	Streams    []string // pods.Attach...; empty: all that there are
	CloseStdin bool     // the end of the caller's stdin is the app's, too
	Join       attach.Options
}

// Attached is how an attachment ended.
type Attached struct {
	Detached bool         // the app goes on
	Last     *pods.AppRun // of an app that is over; nil: nobody knows how it ended
	Lost     uint64       // bytes of output that came faster than the caller took them
}

// Attachable returns the streams of the app that can be attached to.
func Attachable(ctx context.Context, pod *pods.Pod, app string) ([]string, error) {
	a, err := attachTo(ctx, pod, app, &pods.ControlRequest{Verb: pods.ControlStreams})
	if err != nil {
		return nil, err
	}
	defer a.conn.Close()
	return a.names, nil
}

// Attach joins the caller to streams of a running app, until the app is over or the caller detaches.
func Attach(ctx context.Context, pod *pods.Pod, o AttachOptions) (*Attached, error) {
	a, err := attachTo(ctx, pod, o.App, &pods.ControlRequest{Verb: pods.ControlAttach, Streams: o.Streams})
	if err != nil {
		return nil, err
	}
	defer a.close()
	_, runs, err := pod.LastRun(a.app)
	if err != nil {
		return nil, err
	}
	lost := a.hear()
	o.Join.Over = a.over
	if o.CloseStdin {
		o.Join.EndInput = func() error { return askFor(a.conn, &pods.ControlRequest{Verb: pods.ControlEOF, App: a.app}) }
	}
	joined := attach.Join(ctx, a.streams(), o.Join)
	_ = a.conn.CloseWrite()
	_ = a.conn.SetReadDeadline(time.Now().Add(time.Second)) // a supervisor that is gone says nothing
	out := &Attached{Lost: <-lost, Detached: errors.Is(joined, attach.ErrDetached)}
	if joined != nil {
		if out.Detached {
			joined = nil
		}
		return out, joined
	}
	last, n, err := pod.LastRun(a.app)
	if n > runs {
		out.Last = last
	}
	return out, err
}

// attachment is a connection to the supervisor with the streams that came along.
type attachment struct {
	app   string
	conn  *net.UnixConn
	names []string
	files []*os.File
	over  chan struct{} // closed when the supervisor has closed the connection
}

func attachTo(ctx context.Context, pod *pods.Pod, app string, req *pods.ControlRequest) (*attachment, error) {
	app, err := chooseApp(pod, app)
	if err != nil {
		return nil, err
	}
	conn, err := reach(ctx, pod)
	if err != nil {
		return nil, err
	}
	a := &attachment{app: app, conn: conn, over: make(chan struct{})}
	req.App = a.app
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	if err = askFor(conn, req); err == nil {
		err = a.receive()
	}
	if err != nil {
		a.close()
		return nil, err
	}
	return a, nil
}

// receive reads the reply and what came with it.
func (a *attachment) receive() error {
	data, rights := make([]byte, maxReply), make([]byte, unix.CmsgSpace(4*8))
	n, nRights, _, _, err := a.conn.ReadMsgUnix(data, rights)
	if err != nil {
		return fmt.Errorf("hear from the supervisor: %w", err)
	}
	messages, err := unix.ParseSocketControlMessage(rights[:nRights])
	if err != nil {
		return fmt.Errorf("hear from the supervisor: %w", err)
	}
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return fmt.Errorf("hear from the supervisor: %w", err)
		}
		for _, fd := range fds {
			_ = unix.SetNonblock(fd, true) // of ours alone or, like the app's stdin, nonblocking already
			a.files = append(a.files, os.NewFile(uintptr(fd), "stream"))
		}
	}
	reply := pods.ControlReply{}
	if err := json.Unmarshal(data[:n], &reply); err != nil {
		return fmt.Errorf("hear from the supervisor: %w", err)
	}
	if reply.Error != "" {
		return errors.New(reply.Error)
	}
	a.names = reply.Streams
	return nil
}

// hear listens to the supervisor until it closes the connection, and says then how many bytes were lost.
func (a *attachment) hear() <-chan uint64 {
	lost := make(chan uint64, 1)
	go func() {
		var sum uint64
		for lines := bufio.NewScanner(a.conn); lines.Scan(); {
			reply := pods.ControlReply{}
			if json.Unmarshal(lines.Bytes(), &reply) == nil {
				sum += reply.Lost
			}
		}
		close(a.over)
		lost <- sum
	}()
	return lost
}

func (a *attachment) streams() attach.Streams {
	var s attach.Streams
	for i, f := range a.files {
		switch a.names[i] {
		case pods.AttachStdin:
			s.In = f
		case pods.AttachTTYIn:
			s.In, s.Terminal = f, true
		case pods.AttachStderr:
			s.Err = f
		default:
			s.Out = f
		}
	}
	s.Terminal = s.Terminal || slices.Contains(a.names, pods.AttachTTYOut)
	return s
}

func (a *attachment) close() {
	for _, f := range a.files {
		_ = f.Close()
	}
	_ = a.conn.Close()
}

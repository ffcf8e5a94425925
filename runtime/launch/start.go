package launch

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"github.com/opencontainers/cgroups"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods"
)

// ErrSupervisorGone is what Start returns when nobody is left to supervise what it started; it has killed it.
var ErrSupervisorGone = errors.New("the supervisor is gone")

// Start reads a pods.Launch from control, a stream socket, starts its apps at the same time, and answers with a line
// per app, in the order of the request. Apps that are held stand before their last step until another line comes. A nil error means that
// everything was answered, failures included; no request at all is no error either. When the other end of control is closed before the
// last answer, Start kills what it has started.
func Start(control *os.File) error {
	logrus.SetLevel(logrus.ErrorLevel) // libcontainer's warnings are beside the error that we return
	var starts atomic.Pointer[[]*start]
	go warmUp()
	req, err := readRequest(control)
	if req == nil {
		return err
	}
	if cgroups.IsCgroup2UnifiedMode() { // not before stage1 has moved us where we may be, or we would have moved ourselves back
		go wakeCgroups(func() bool { return starts.Load() != nil && haveJoined(*starts.Load()) })
	}
	program, err := sealedProgram(req.Init)
	if err != nil {
		err = fmt.Errorf("seal %s: %w", req.Init, err)
	} else {
		defer program.Close()
	}
	heard := listen(control, req.Held)
	begun := begin(req, program, heard.released, err)
	starts.Store(&begun)
	return answer(control, begun, heard.gone)
}

// heard is what the supervisor says after its request.
type heard struct {
	released chan struct{} // closed when the apps may be executed
	gone     chan struct{} // closed when the supervisor is
}

func listen(control *os.File, held bool) heard {
	h := heard{make(chan struct{}), make(chan struct{})}
	if !held {
		close(h.released)
	}
	go func() {
		defer close(h.gone)
		line := make([]byte, 1)
		if _, err := io.ReadFull(control, line); err == nil && held {
			close(h.released)
		}
		_, _ = io.Copy(io.Discard, control) // nothing more is ever sent: this ends when the supervisor does
	}()
	return h
}

// begin starts every app, unless err says that none can be.
func begin(req *pods.Launch, program *os.File, released <-chan struct{}, err error) []*start {
	filters := &filters{}
	var births *births
	if !cgroups.IsCgroup2UnifiedMode() {
		births = newBirths()
	}
	starts := make([]*start, len(req.Apps))
	for i := range req.Apps {
		starts[i] = &start{
			app: &req.Apps[i], stateDir: req.StateDir, program: program, filters: filters, births: births, released: released, done: make(chan struct{}),
		}
		go starts[i].run(err)
	}
	return starts
}

// answer sends each result as soon as it and those before it are there.
func answer(control *os.File, starts []*start, gone <-chan struct{}) error {
	for _, s := range starts {
		select {
		case <-s.done:
		case <-gone:
		}
		select {
		case <-gone:
			return errors.Join(ErrSupervisorGone, killAll(starts))
		default:
		}
		if err := send(control, s); err != nil {
			return errors.Join(ErrSupervisorGone, err, killAll(starts))
		}
	}
	return nil
}

// send writes the answer; the master of an app's terminal goes along with the line.
func send(control *os.File, s *start) error {
	data, err := json.Marshal(s.result)
	if err != nil {
		return err
	}
	data = append(data, '\n')
	if s.console == nil {
		_, err = control.Write(data)
		return err
	}
	defer s.console.Close()
	return unix.Sendmsg(int(control.Fd()), data, unix.UnixRights(int(s.console.Fd())), nil, 0)
}

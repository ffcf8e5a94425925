package launch

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"github.com/opencontainers/cgroups"
	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods"
)

// ErrSupervisorGone is what Start returns when nobody is left to supervise what it started; it has killed it.
var ErrSupervisorGone = errors.New("the supervisor is gone")

// Start reads a pods.Launch from control, a stream socket, starts its apps at the same time, and answers with a line
// per app, in the order of the request. A nil error means that everything was answered, failures included; no
// request at all is no error either. When the other end of control is closed before the last answer, Start kills
// what it has started.
func Start(control *os.File) error {
	var starts atomic.Pointer[[]*start]
	wake := func() { wakeCgroups(func() bool { return starts.Load() != nil && haveJoined(*starts.Load()) }) }
	early := !cgroups.IsCgroup2UnifiedMode()
	if early {
		go wake()
	}
	go warmUp()
	req, err := readRequest(control)
	if req == nil {
		return err
	}
	if !early { // stage1 has moved us where we may be, and we would have moved ourselves back
		go wake()
	}
	program, err := sealedProgram(req.Init)
	if err != nil {
		err = fmt.Errorf("seal %s: %w", req.Init, err)
	} else {
		defer program.Close()
	}
	begun := begin(req, program, err)
	starts.Store(&begun)
	return answer(control, begun)
}

// begin starts every app, unless err says that none can be.
func begin(req *pods.Launch, program *os.File, err error) []*start {
	filters := &filters{}
	starts := make([]*start, len(req.Apps))
	for i := range req.Apps {
		starts[i] = &start{app: &req.Apps[i], stateDir: req.StateDir, program: program, filters: filters, done: make(chan struct{})}
		go starts[i].run(err)
	}
	return starts
}

// answer sends each result as soon as it and those before it are there.
func answer(control *os.File, starts []*start) error {
	gone := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, control) // nothing more is ever sent: this ends when the supervisor does
		close(gone)
	}()
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

package launch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

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
	ctx, joined := context.WithCancel(context.Background())
	defer joined()
	go wakeCgroups(ctx)
	go warmUp()
	req, err := readRequest(control)
	if req == nil {
		return err
	}
	program, err := sealedProgram(req.Init)
	if err != nil {
		err = fmt.Errorf("seal %s: %w", req.Init, err)
	} else {
		defer program.Close()
	}
	return answer(control, begin(req, program, err, joined))
}

// begin starts every app, unless err says that none can be; it calls joined when all are in their cgroups.
func begin(req *pods.Launch, program *os.File, err error, joined func()) []*start {
	filters := &filters{}
	starts := make([]*start, len(req.Apps))
	var joining sync.WaitGroup
	joining.Add(len(starts))
	for i := range req.Apps {
		starts[i] = &start{
			app: &req.Apps[i], stateDir: req.StateDir, program: program, filters: filters,
			joined: sync.OnceFunc(joining.Done), done: make(chan struct{}),
		}
		go starts[i].run(err)
	}
	go func() {
		joining.Wait()
		joined()
	}()
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

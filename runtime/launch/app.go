package launch

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/opencontainers/runc/libcontainer"

	"github.com/gantryrun/gantry/pods"
)

// Exit codes that are recorded for an app that did not run.
const (
	codeInternal = 254
)

// start is one app on its way: run fills in the rest, and closes done.
type start struct {
	app      *pods.LaunchApp
	stateDir string
	program  *os.File // gantry-init, sealed
	filters  *filters
	births   *births         // nil on cgroup v2
	released <-chan struct{} // closed when the network is there, and the program may be executed

	bound   int // how many files of Files are mounted, after everything else
	done    chan struct{}
	result  pods.Launched
	console *os.File // master of the app's terminal, if it has one

	cgroup atomic.Pointer[string] // a directory that lists the app's processes; nil until there may be some
}

// run starts the app, unless err says that no app can be started.
func (s *start) run(err error) {
	defer close(s.done)
	s.result.App = s.app.Name
	pid := 0
	if err == nil {
		pid, err = s.launch()
	}
	var failed *execError
	switch {
	case err == nil:
		s.result.PID = pid
	case errors.As(err, &failed):
		s.result.Code, s.result.Error = failed.code, failed.reason
	default:
		s.result.Code, s.result.Error = codeInternal, err.Error()
	}
}

// launch returns the app's process ID when its own program runs.
func (s *start) launch() (int, error) {
	spec, err := s.spec()
	if err != nil {
		return 0, err
	}
	filter, err := s.filters.use(s.app.Seccomp, spec)
	if err != nil {
		return 0, err
	}
	last, err := newLastStep(s.program, filter)
	if err != nil {
		return 0, err
	}
	defer last.close()
	process, err := newProcess(spec.Process)
	if err != nil {
		return 0, err
	}
	process.Init = true
	for _, v := range s.app.Env {
		process.Env = setEnv(process.Env, v)
	}
	passSockets(process, s.app.Sockets)
	console, err := s.streams(process, spec.Process.Terminal)
	if err != nil {
		return 0, err
	}
	defer console.close()
	owner := spec.Process.User.UID
	if s.app.Users != nil {
		owner += s.app.Users.Base
	}
	if err := giveStreams(process, owner); err != nil {
		return 0, err
	}
	if err := last.wrap(process); err != nil {
		return 0, err
	}
	config, err := newConfig(containerID(s.stateDir, s.app.Name), spec)
	if err != nil {
		return 0, err
	}
	furniture, err := takeFurniture(config, s.bound)
	if err != nil {
		return 0, err
	}
	list, err := furniture.give(process, last.statusFD)
	if err != nil {
		return 0, err
	}
	defer list.Close()
	container, err := create(s.stateDir, s.app.Name, config)
	if err != nil {
		return 0, err
	}
	if err := s.rememberCgroup(container); err != nil {
		return 0, errors.Join(err, container.Destroy())
	}
	if setsNetwork(spec) {
		<-s.released
	}
	if err := s.execute(container, process, last); err != nil {
		return 0, errors.Join(err, container.Destroy())
	}
	if s.console, err = console.receive(); err != nil {
		return 0, errors.Join(err, container.Destroy())
	}
	return process.Pid()
}

// execute returns nil when the app's own program runs.
func (s *start) execute(container *libcontainer.Container, process *libcontainer.Process, last *lastStep) error {
	begin := container.Start
	if s.births != nil {
		begin = func(process *libcontainer.Process) error { return s.births.start(container, process) }
	}
	err := begin(process)
	if err == nil {
		<-s.released
		err = container.Exec()
	}
	if err != nil {
		return clearer(last.explain(err), process, s.app)
	}
	if err = last.wait(); err != nil {
		_, _ = process.Wait() // the exit status of gantry-init says less than err
	}
	return err
}

// streams gives process the descriptors that the request names, or a terminal of its own.
func (s *start) streams(process *libcontainer.Process, terminal bool) (*console, error) {
	if terminal {
		return newConsole(process)
	}
	if f := stream(s.app.Stdin); f != nil { // a nil *os.File in an interface would not be nil
		process.Stdin = f
	}
	if f := stream(s.app.Stdout); f != nil {
		process.Stdout = f
	}
	if f := stream(s.app.Stderr); f != nil {
		process.Stderr = f
	}
	return nil, nil
}

// stream wraps an inherited descriptor; nil stands for /dev/null.
func stream(fd int) *os.File {
	if fd < 0 {
		return nil
	}
	return os.NewFile(uintptr(fd), "descriptor "+strconv.Itoa(fd))
}

// execError is a failure of the last step, as gantry-init reports it.
type execError struct {
	code   int
	reason string
}

func (e *execError) Error() string { return e.reason }

// parseStatus reads "CODE reason\n", what gantry-init writes to its status descriptor; nothing at all is success.
func parseStatus(r io.Reader) error {
	const longest = 1024
	data, err := io.ReadAll(io.LimitReader(r, longest))
	if err != nil {
		return fmt.Errorf("read status of gantry-init: %w", err)
	}
	if len(data) == 0 {
		return nil
	}
	number, reason, _ := strings.Cut(strings.TrimSpace(string(data)), " ")
	code, err := strconv.Atoi(number)
	if err != nil || reason == "" {
		return fmt.Errorf("read status of gantry-init: unexpected %q", data)
	}
	return &execError{code: code, reason: reason}
}

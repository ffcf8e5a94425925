package launch

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"

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

	done    chan struct{}
	result  pods.Launched
	console *os.File // master of the app's terminal, if it has one

	mu        sync.Mutex
	container *libcontainer.Container // nil until there is something to kill
}

func (s *start) run() {
	defer close(s.done)
	s.result.App = s.app.Name
	pid, err := s.launch()
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
	filter, err := useFilter(s.app.Seccomp, spec)
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
	last.wrap(process)
	console, err := s.streams(process, spec.Process.Terminal)
	if err != nil {
		return 0, err
	}
	defer console.close()
	container, err := create(s.stateDir, s.app.Name, spec)
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	s.container = container
	s.mu.Unlock()
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
	if err := container.Run(process); err != nil {
		return err
	}
	err := last.wait()
	if err != nil {
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

// killAll kills whatever of starts lives, through its cgroup: processes that have not joined the pod's PID namespace
// yet do not die with it, and on a pod without one nobody does.
func killAll(starts []*start) error {
	var errs []error
	for _, s := range starts {
		s.mu.Lock()
		container := s.container
		s.mu.Unlock()
		if container == nil {
			continue
		}
		for {
			pids, err := container.Processes()
			if err != nil {
				errs = append(errs, fmt.Errorf("kill app %s: %w", s.app.Name, err))
			}
			alive := false
			for _, pid := range pids {
				alive = unix.Kill(pid, unix.SIGKILL) == nil && !dying(pid) || alive
			}
			if !alive {
				break
			}
		}
	}
	return errors.Join(errs...)
}

// dying reports that pid has been killed already, though its cgroup still lists it.
func dying(pid int) bool {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return true
	}
	_, rest, _ := strings.Cut(string(data), ") ")
	return strings.HasPrefix(rest, "Z") || strings.HasPrefix(rest, "X")
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

package launch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods"
)

// EnterOptions say what Enter is to run, and where. The command gets everything else from the app: namespaces, cgroup,
// user, capabilities, seccomp filter, limits, environment.
type EnterOptions struct {
	StateDir string        // as the app's pods.Launch had it
	App      string        // name
	Config   string        // path of the app's config.json
	Seccomp  *pods.Seccomp // the app's
	Init     string        // path of gantry-init
	Command  []string
	TTY      bool          // a terminal of its own, from the app's devpts; else the command gets this process's streams
	User     string        // "USER[:GROUP]", names of the app's image or numbers; empty: the app's
	Env      []string      // added to the app's, NAME=VALUE
	Cwd      string        // empty: the app's
	Limit    time.Duration // after which the command is killed; 0: never
}

// ErrNotRunning is for an app that cannot be entered.
var ErrNotRunning = errors.New("the app is not running")

// forwarded are the signals that Enter passes on. The command is in a session of its own, which the caller's terminal
// does not reach.
var forwarded = []os.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM, unix.SIGCONT}

// Enter runs a command inside a running app and returns its exit code, 128+N where signal N ended it. With an error, the
// command did not run, or some of its output was lost, and the code says what to exit with.
func Enter(o EnterOptions) (int, error) {
	ctx, started := context.WithCancel(context.Background())
	defer started()
	if cgroups.IsCgroup2UnifiedMode() {
		go wakeCgroups(func() bool { return ctx.Err() != nil })
	}
	var code int
	var err error
	done := make(chan struct{})
	go func() { // not on the first thread, see place
		code, err = enter(o, started)
		close(done)
	}()
	<-done
	var failed *execError
	if errors.As(err, &failed) {
		return failed.code, err
	}
	if err != nil {
		return codeInternal, err
	}
	return code, nil
}

// enter calls started when the command runs.
func enter(o EnterOptions, started func()) (int, error) {
	container, err := loadRunning(o.StateDir, o.App)
	if err != nil {
		return 0, err
	}
	spec, err := readSpec(o.Config)
	if err != nil {
		return 0, err
	}
	if err := o.edit(spec, container); err != nil {
		return 0, err
	}
	process, err := newProcess(spec.Process)
	if err != nil {
		return 0, err
	}
	state, err := container.State()
	if err == nil {
		err = shareLimits(process, state.InitProcessPid)
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		err = fmt.Errorf("app %s: %w", o.App, ErrNotRunning) // any more
	}
	if err != nil {
		return 0, err
	}
	filter, err := o.filter(spec, container)
	if err != nil {
		return 0, err
	}
	program, err := sealedProgram(o.Init)
	if err != nil {
		return 0, fmt.Errorf("seal %s: %w", o.Init, err)
	}
	defer program.Close()
	last, err := newLastStep(program, filter)
	if err != nil {
		return 0, err
	}
	defer last.close()
	last.followUs(o.TTY)
	if o.Limit == 0 { // else it is the supervisor that asks
		last.guard = guard{socket: filepath.Join(filepath.Dir(o.StateDir), pods.ControlFile), app: o.App}
	}

	umask := 0o022 // libcontainer's for an app; a second process would have that of our caller
	if m := spec.Process.User.Umask; m != nil {
		umask = int(*m)
	}
	unix.Umask(umask)
	if !o.TTY {
		return o.runOnStreams(container, process, last, started)
	}
	if err := last.wrap(process); err != nil {
		return 0, err
	}
	return runOnTerminal(container, process, last, started)
}

// runOnStreams runs process on the caller's streams.
func (o EnterOptions) runOnStreams(container *libcontainer.Container, process *libcontainer.Process, last *lastStep, started func()) (int, error) {
	var streams callerStreams
	if err := streams.give(process); err != nil {
		return 0, err
	}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, forwarded...)
	defer signal.Stop(signals)
	config := container.Config()
	uid, err := config.HostUID(process.UID)
	if err == nil {
		err = giveStreams(process, uint32(uid))
	}
	if err == nil {
		err = last.wrap(process)
	}
	if err != nil {
		return 0, err
	}
	err = startIn(container, process, last)
	streams.started()
	if err != nil {
		return 0, err
	}
	started()
	go forward(process, signals)
	code, err := waitFor(process, o.Limit)
	if lost := streams.wait(); err == nil && (code == 0 || code == 128+int(unix.SIGPIPE)) {
		err = lost
	}
	return code, err
}

// loadRunning finds the app's container.
func loadRunning(stateDir, app string) (*libcontainer.Container, error) {
	container, err := libcontainer.Load(stateDir, containerID(stateDir, app))
	if errors.Is(err, libcontainer.ErrNotExist) {
		return nil, fmt.Errorf("app %s: %w", app, ErrNotRunning)
	}
	if err != nil {
		return nil, fmt.Errorf("load container: %w", err)
	}
	status, err := container.Status()
	if err != nil {
		return nil, fmt.Errorf("ask for status of app %s: %w", app, err)
	}
	if status != libcontainer.Running {
		return nil, fmt.Errorf("app %s: %w (%s)", app, ErrNotRunning, status)
	}
	return container, nil
}

// edit makes of the app's process the one that o asks for.
func (o EnterOptions) edit(spec *specs.Spec, container *libcontainer.Container) error {
	p := spec.Process
	p.Args = o.Command
	p.ConsoleSize = nil
	if o.Cwd != "" {
		p.Cwd = o.Cwd
	}
	if o.User != "" {
		umask := p.User.Umask
		user, home, err := identity(o.User, container)
		if err != nil {
			return err
		}
		p.User = user
		p.User.Umask = umask
		p.Env = setEnv(p.Env, "HOME="+home)
	}
	if o.TTY && !slices.ContainsFunc(p.Env, func(v string) bool { return strings.HasPrefix(v, "TERM=") }) {
		p.Env = setEnv(p.Env, "TERM="+cmp.Or(os.Getenv("TERM"), "dumb"))
	}
	for _, v := range o.Env {
		if name, _, ok := strings.Cut(v, "="); !ok || name == "" {
			return fmt.Errorf("environment %q: want NAME=VALUE", v)
		}
		p.Env = setEnv(p.Env, v)
	}
	return nil
}

// setEnv returns env with variable, NAME=VALUE, in place of an earlier one of that name.
func setEnv(env []string, variable string) []string {
	name, _, _ := strings.Cut(variable, "=")
	env = slices.DeleteFunc(slices.Clone(env), func(v string) bool { return strings.HasPrefix(v, name+"=") })
	return append(env, variable)
}

// filter returns the filter that the app itself runs under. Nil without an error: libcontainer knows it.
func (o EnterOptions) filter(spec *specs.Spec, container *libcontainer.Container) (*filter, error) {
	if container.Config().Seccomp != nil || o.Seccomp == nil {
		return nil, nil
	}
	f, err := (&filters{}).use(o.Seccomp, spec)
	if err == nil && f == nil {
		err = errNotCacheable // it was, when the app was started: never enter without one
	}
	return f, err
}

// born starts the command, which is born in its cgroups of v1.
func born(container *libcontainer.Container, process *libcontainer.Process) error {
	if cgroups.IsCgroup2UnifiedMode() {
		return container.Start(process)
	}
	p, err := placeOf(container)
	if err != nil {
		return err
	}
	return p.do(func() error { return container.Start(process) })
}

// startIn returns nil when the command's own program runs.
func startIn(container *libcontainer.Container, process *libcontainer.Process, last *lastStep) error {
	back, err := hybridCgroup(container)
	if err != nil {
		return err
	}
	err = born(container, process)
	back()
	if err != nil {
		if status, statusErr := container.Status(); statusErr == nil && status != libcontainer.Running {
			return ErrNotRunning // any more: that says it better than the namespace that could not be joined
		}
		return clearer(last.explain(err), process, nil)
	}
	last.guard.watch(process)
	err = last.wait()
	if err != nil {
		_, _ = process.Wait() // the exit status of gantry-init says less than err
	}
	return err
}

func forward(process *libcontainer.Process, signals <-chan os.Signal) {
	for s := range signals {
		_ = process.Signal(s) // it may just have ended
	}
}

// waitFor kills the command, with what of its process group it has started, when limit is over; 0 is none.
func waitFor(process *libcontainer.Process, limit time.Duration) (int, error) {
	if limit > 0 {
		defer time.AfterFunc(limit, func() {
			if pid, err := process.Pid(); err == nil {
				_ = unix.Kill(-pid, unix.SIGKILL) // it leads a session of its own
			}
		}).Stop()
	}
	state, err := process.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return 0, fmt.Errorf("wait for command: %w", err)
	}
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return state.ExitCode(), nil
}

// identity looks up who in the files that the app sees.
func identity(who string, container *libcontainer.Container) (specs.User, string, error) {
	state, err := container.State()
	if err != nil {
		return specs.User{}, "", err
	}
	root, err := os.OpenFile(fmt.Sprintf("/proc/%d/root", state.InitProcessPid), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return specs.User{}, "", err
	}
	defer root.Close()
	if status, err := container.Status(); err != nil || status != libcontainer.Running {
		return specs.User{}, "", errors.Join(ErrNotRunning, err) // and the process ID may be a stranger's by now
	}
	return lookUp(who, root)
}

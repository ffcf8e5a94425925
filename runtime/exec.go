package runtime

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	goruntime "runtime"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods"
	"github.com/gantryrun/gantry/pods/report"
)

// Exec becomes the pod's supervisor: same process, same cgroup, the caller's terminal. It returns only on error.
func (r *Runtime) Exec(p *Prepared) error {
	trees, err := openTrees(p.shared)
	if err != nil {
		return err
	}
	if p.ahead == nil {
		p.ahead = r.startAhead()
	}
	return p.ahead.do(func() error {
		if err := putTrees(trees, p.path); err != nil {
			return err
		}
		return r.exec(p)
	})
}

// exec becomes stage1. It runs on the thread that has the pod's mount namespace: the kernel turns it into the process at execve.
func (r *Runtime) exec(p *Prepared) error {
	argv, err := r.stage1("run", r.stage1Flags(p)...)
	if err != nil {
		return err
	}
	dir, err := os.Open(p.path)
	if err != nil {
		return err
	}
	files, err := handover(dir, p.lock.File(), p.ahead)
	if err != nil {
		return err
	}
	defer goruntime.KeepAlive(files) // one that is collected closes its number, which place has given to another
	if err := r.leave(); err != nil {
		return err
	}
	switch err := place(files, pods.DirFD); {
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EMFILE): // the first is what F_DUPFD says of a place beyond the limit
		return errors.New("hand over descriptors: too few files may be open: ulimit -n (LimitNOFILE= of a unit) has to be 256 or more")
	case err != nil:
		return fmt.Errorf("hand over descriptors: %w", err)
	}
	err = syscall.Exec(argv[0], argv, stage1Environ())
	return fmt.Errorf("execute %s: %w", argv[0], err)
}

// stage1Environ is ours, for NOTIFY_SOCKET and the plugins' PATH. A supervisor mostly waits: with one processor from its first
// moment its heap is a third of a megabyte smaller, in every pod.
func stage1Environ() []string {
	env := slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, "GOMAXPROCS=") })
	return append(env, "GOMAXPROCS=1")
}

// stage1Flags are the arguments of a stage1 that has our stderr.
func (r *Runtime) stage1Flags(p *Prepared) []string {
	var flags []string
	if r.JSON {
		flags = append(flags, report.JSONFlag)
	}
	if p.ahead.hybrid != nil {
		flags = append(flags, "--hybrid")
	}
	if p.ahead.pid > 0 {
		flags = append(flags, fmt.Sprintf("--launcher=%d", p.ahead.pid))
	}
	return append(flags, p.path)
}

func (r *Runtime) stage1(verb string, args ...string) ([]string, error) {
	path, err := r.Programs.Find(stage1Program)
	if err != nil {
		return nil, err
	}
	return append([]string{path, verb}, args...), nil
}

// ownMounts gives the calling thread the pod's mount namespace, with the volumes from which mounts propagate.
func (p *Prepared) ownMounts() error {
	trees, err := openTrees(p.shared)
	if err != nil {
		return err
	}
	if err := ownMounts(); err != nil {
		return err
	}
	return putTrees(trees, p.path)
}

// ownMounts gives the calling thread a mount namespace that follows the host's and that the host does not follow. Not
// private: private copies would pin every host mount, and the host could unmount nothing.
func ownMounts() error {
	if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
		if errors.Is(err, unix.EPERM) {
			return fmt.Errorf("make mount namespace: %w: this needs root with CAP_SYS_ADMIN, which a container's has not", err)
		}
		return fmt.Errorf("make mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("make mounts slaves of the host's: %w", err)
	}
	return nil
}

// place puts files at the descriptors from first on, nil nowhere, and marks all above to be closed at the exec: what the caller had open must
// not reach a pod (CVE-2024-21626). What stood there is gone; only execve may follow.
func place(files []*os.File, first int) error {
	var high []int
	for _, f := range files { // out of the way of the places first
		if f == nil {
			high = append(high, -1)
			continue
		}
		fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, first+len(files)+100)
		if err != nil {
			return err
		}
		high = append(high, fd)
	}
	for i, fd := range high {
		if fd < 0 {
			continue
		}
		if err := unix.Dup3(fd, first+i, 0); err != nil {
			return err
		}
	}
	return unix.CloseRange(uint(first+len(files)), math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
}

// StartError is what stage1 said when it could not start a detached pod, or was told to stop before the pod was ready.
type StartError struct {
	Message string
	Code    int   // of the app that failed, if one did
	cause   error // context.Canceled, if somebody did not want to wait
}

func toldToStop(ctx context.Context) *StartError {
	return &StartError{Message: "the pod was told to stop while it started", cause: ctx.Err()}
}

// StopUnready stops, in order, a pod that another process starts, and that ctx, which is over, does not wait for. It is a *StartError that
// says so.
func StopUnready(ctx context.Context, pod *pods.Pod) error {
	if err := Stop(context.WithoutCancel(ctx), pod, StopOptions{}); err != nil {
		return errors.Join(toldToStop(ctx), err)
	}
	return toldToStop(ctx)
}

func (e *StartError) Error() string { return e.Message }

func (e *StartError) Unwrap() error { return e.cause }

// Start runs the pod without us: a supervisor in a session of its own, whose apps write to the pod's logs. It returns when the pod is
// ready. A *StartError is stage1's. When ctx ends before, the pod is stopped in order; its apps have ended when Start returns.
func (r *Runtime) Start(ctx context.Context, p *Prepared) error {
	argv, err := r.stage1("run", "--detached", p.path)
	if err != nil {
		return err
	}
	dir, err := os.Open(p.path)
	if err != nil {
		return err
	}
	defer dir.Close()
	ready, said, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ready.Close()
	pid, err := p.spawn(argv, []*os.File{dir, p.lock.File(), said})
	if err := errors.Join(err, said.Close()); err != nil {
		return err
	}
	if err := p.Release(); err != nil { // the lock lives on in the child
		return err
	}
	inTime := context.AfterFunc(ctx, func() { _ = unix.Kill(pid, unix.Signal(pods.StopSignal)) }) // our child: nobody else has its PID
	failed := awaitReady(ready, pid)
	if !inTime() {
		return toldToStop(ctx)
	}
	if failed != nil {
		return failed
	}
	return nil
}

// spawn starts argv with files from pods.DirFD on. It runs on a thread of its own, which takes its mount namespace with it.
func (p *Prepared) spawn(argv []string, files []*os.File) (pid int, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		goruntime.LockOSThread() // never unlocked: the thread ends with the goroutine
		relax()
		if err = p.ownMounts(); err != nil {
			return
		}
		var null *os.File
		if null, err = os.OpenFile(os.DevNull, os.O_RDWR, 0); err != nil {
			return
		}
		defer null.Close()
		var started *os.Process
		started, err = os.StartProcess(argv[0], argv, &os.ProcAttr{
			Env:   stage1Environ(),
			Files: append([]*os.File{null, null, null}, files...), // all others are close-on-exec, ours by Go, the caller's by CloseForeign
			Sys:   &syscall.SysProcAttr{Setsid: true},
		})
		if err == nil {
			pid = started.Pid
		}
	}()
	<-done
	if err != nil {
		return 0, fmt.Errorf("start %s: %w", argv[0], err)
	}
	return pid, nil
}

// awaitReady reads the one line that stage1 says.
func awaitReady(pipe *os.File, pid int) *StartError {
	line, err := bufio.NewReader(io.LimitReader(pipe, 64<<10)).ReadBytes('\n')
	var said struct {
		Ready bool   `json:"ready"`
		Error string `json:"error"`
		Code  int    `json:"code"`
	}
	if err != nil || json.Unmarshal(line, &said) != nil {
		return &StartError{Message: fmt.Sprintf("the supervisor (process %d) died before the pod was ready", pid), Code: 254}
	}
	if !said.Ready {
		return &StartError{Message: said.Error, Code: said.Code}
	}
	return nil
}

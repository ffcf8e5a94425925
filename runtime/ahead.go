package runtime

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	goruntime "runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods"
)

// ahead is what of a pod's start needs nothing of the pod, and so is made while the pod is still being written: the thread that
// becomes stage1, with a mount namespace of its own, and in that a gantry-launch, which loads meanwhile and has the kernel ready for
// moves between cgroups when its request comes. The process that becomes stage1 is its parent.
//
// When nobody holds the other end of its socket any more, because we failed or were killed, gantry-launch is gone too.
type ahead struct {
	jobs   chan func() error
	done   chan error
	pid    int      // of gantry-launch; 0: stage1 starts one
	socket *os.File // to it
	hybrid *os.File // pods.HybridMount, if there was one
}

// startAhead returns at once. The images of the pod have to be mounted: a namespace of now sees no mount of later where the host's
// are private.
func (r *Runtime) startAhead() *ahead {
	a := &ahead{jobs: make(chan func() error), done: make(chan error)}
	go func() {
		goruntime.LockOSThread() // never unlocked: the thread ends with the goroutine, or is stage1
		relax()
		err := ownMounts()
		if err == nil {
			_ = a.launch(r) // stage1 starts one itself then, and says why it cannot
		}
		for job := range a.jobs {
			if err == nil {
				err = job()
			}
			a.done <- err
		}
	}()
	return a
}

// do runs job on the thread, unless that has no namespace.
func (a *ahead) do(job func() error) error {
	a.jobs <- job
	return <-a.done
}

// drop ends what was started ahead of a pod that is not run, and waits for it. One that was never started, nil, is none.
func (a *ahead) drop() {
	if a == nil {
		return
	}
	_ = a.do(func() error { return nil })
	close(a.jobs)
	if a.pid > 0 {
		_ = unix.Shutdown(int(a.socket.Fd()), unix.SHUT_RDWR) // an exec that failed late has left another descriptor of it
		_ = a.socket.Close()
		_ = unix.Kill(a.pid, unix.SIGKILL) // one that is stopped (SIGSTOP) would not end
		_, _ = unix.Wait4(a.pid, nil, 0, nil)
		a.pid = 0
	}
}

// launch starts gantry-launch, as stage1 would, and with its descriptors: nothing of the caller's but stderr.
func (a *ahead) launch(r *Runtime) error {
	stage1, err := r.Programs.Find(stage1Program)
	if err != nil {
		return err
	}
	if err := a.hideHybrid(); err != nil {
		return err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make socket of gantry-launch: %w", err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "stage1")
	defer theirs.Close()
	a.socket = os.NewFile(uintptr(pair[0]), "launcher")
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return errors.Join(err, a.socket.Close())
	}
	defer null.Close()
	pid, err := syscall.ForkExec(filepath.Join(filepath.Dir(stage1), launchProgram), []string{launchProgram, "start"}, &syscall.ProcAttr{
		Dir: "/", Env: []string{}, Files: []uintptr{null.Fd(), null.Fd(), os.Stderr.Fd(), theirs.Fd()}, Sys: &syscall.SysProcAttr{Setpgid: true},
	})
	if err != nil {
		return errors.Join(fmt.Errorf("start gantry-launch: %w", err), a.socket.Close())
	}
	a.pid = pid
	return nil
}

// hideHybrid takes the cgroup2 of a hybrid host out of the thread's mount namespace, for which package stage1 has the reasons: gantry-launch
// looks for it when it starts.
func (a *ahead) hideHybrid() error {
	var st unix.Statfs_t
	if unix.Statfs(pods.HybridMount, &st) != nil || st.Type != unix.CGROUP2_SUPER_MAGIC {
		return nil
	}
	root, err := os.Open(pods.HybridMount)
	if err != nil {
		return err
	}
	if err := unix.Unmount(pods.HybridMount, unix.MNT_DETACH); err != nil {
		return errors.Join(fmt.Errorf("hide %s: %w", pods.HybridMount, err), root.Close())
	}
	a.hybrid = root
	return nil
}

package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods"
)

// watch is a directory of a pod that somebody writes files into.
type watch struct{ f *os.File }

// watchDir sees what happens in the directory name of the pod from now on.
func watchDir(pod *pods.Pod, name string, mask uint32) (*watch, error) {
	dir, err := pod.Root().Open(name)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch pod %s: %w", pod.UUID, err)
	}
	// By descriptor: the path could be another pod's by now.
	if _, err := unix.InotifyAddWatch(fd, fmt.Sprintf("/proc/self/fd/%d", dir.Fd()), mask|unix.IN_ONLYDIR); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("watch pod %s: %w", pod.UUID, err)
	}
	return &watch{os.NewFile(uintptr(fd), "inotify")}, nil
}

// next returns when something happened since the last call. Another goroutine may close the watch to end the waiting.
func (w *watch) next() error {
	buf := make([]byte, 4096)
	_, err := w.f.Read(buf)
	return err
}

func (w *watch) close() error { return w.f.Close() }

// awaitFile waits until stage1 has written the file name into the pod's directory, or has died.
func awaitFile(ctx context.Context, pod *pods.Pod, name string) error {
	w, err := watchDir(pod, ".", unix.IN_MOVED_TO|unix.IN_CREATE)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_ = pod.WaitDead(ctx)
		_ = w.close()
	}()
	for {
		if _, err := pod.Root().Lstat(name); err == nil {
			return nil
		}
		if err := w.next(); errors.Is(err, os.ErrClosed) {
			return ctx.Err()
		} else if err != nil {
			return err
		}
	}
}

// WaitReady returns when every app of the pod has been started. ErrState: it is over before that, or nobody runs it.
func WaitReady(ctx context.Context, pod *pods.Pod) error {
	for {
		state, err := pod.State()
		if err != nil {
			return err
		}
		switch {
		case pod.Ready():
			return nil
		case state.Over() || state == pods.Exiting:
			return stateErrorf("pod %s is over, and was never ready", pod.UUID)
		case state == pods.Prepared:
			return stateErrorf("pod %s is prepared, and nobody runs it", pod.UUID)
		}
		if err := awaitFile(ctx, pod, pods.ReadyFile); err != nil {
			return fmt.Errorf("wait for pod %s: %w", pod.UUID, err)
		}
	}
}

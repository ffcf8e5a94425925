package runtime

import (
	"fmt"
	"math"
	"os"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods"
)

// firstPassed is where systemd puts the first socket that it passes (sd_listen_fds(3)). There they stay until Exec puts them to
// where stage1 wants them.
const firstPassed = 3

// CloseForeign marks every descriptor above stderr to be closed at an exec. The caller of gantry may have left any open. To be called
// before anything else.
func CloseForeign() error {
	sockets, err := pods.PassedSockets()
	if err != nil {
		return err
	}
	for i, name := range sockets {
		if _, err := unix.FcntlInt(uintptr(firstPassed+i), unix.F_GETFD, 0); err != nil {
			return fmt.Errorf("socket %q that LISTEN_FDS promises, descriptor %d: %w", name, firstPassed+i, err)
		}
	}
	if err := reserve(pods.SocketsFD - 1 + len(sockets)); err != nil {
		return err
	}
	return unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
}

// reserve takes every free descriptor up to last. Exec puts its own there just before it executes stage1: where that were
// the Go runtime's epoll, another thread could ask it in between, and the runtime would end the process ("netpoll failed").
func reserve(last int) error {
	for {
		fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0) // the lowest that is free
		if err != nil {
			return fmt.Errorf("reserve descriptors: %w", err)
		}
		if fd > last {
			return unix.Close(fd)
		}
	}
}

// handover are the files that Exec puts from pods.DirFD on.
func handover(dir, lock *os.File, a *ahead) ([]*os.File, error) {
	files := []*os.File{dir, lock, nil, nil, a.hybrid}
	if a.pid > 0 {
		files[pods.LauncherFD-pods.DirFD] = a.socket
	}
	sockets, err := pods.PassedSockets()
	for i := range sockets {
		files = append(files, os.NewFile(uintptr(firstPassed+i), "socket of the unit"))
	}
	return files, err
}

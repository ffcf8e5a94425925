package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"golang.org/x/sys/unix"
)

const (
	recordDir  = "/run/gantry-wireguard"
	controlDir = "/var/run/wireguard" // where wg looks for processes that speak WireGuard
)

// record is a file that names an interface, and the process that it belongs to, if there is one. The process holds its lock: the
// lock is free if and only if the process is dead, so no number of a process is ever believed.
type record struct {
	path     string
	hostName string // of the interface, as long as it is on the host, and of the control socket
}

func recordOf(args *skel.CmdArgs) record {
	id := args.ContainerID + "-" + args.IfName
	sum := sha256.Sum256([]byte(id))
	return record{path: filepath.Join(recordDir, filepath.Base(id)), hostName: fmt.Sprintf("gwg%x", sum[:6])}
}

// create makes the file and takes its lock. One that is locked already belongs to a process that lives.
func (r record) create() (*os.File, error) {
	if err := os.MkdirAll(recordDir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(r.path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("%s is in use: %w", r.path, err)
	}
	return f, nil
}

func (r record) write(f *os.File, pid int) error {
	_, err := f.WriteAt([]byte(strconv.Itoa(pid)), 0)
	return err
}

// end ends the process, waits until it is dead, and removes what it left.
func (r record) end() error {
	f, err := os.Open(r.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	for _, sig := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} {
		if err := r.signal(f, sig); err != nil {
			return err
		}
		if r.dead(f, 2*time.Second) {
			_ = os.Remove(filepath.Join(controlDir, r.hostName+".sock")) // of one that was killed
			return os.Remove(r.path)
		}
	}
	return fmt.Errorf("the process of %s does not end", r.path)
}

// signal signals the process. Between the pidfd and the signal stands a look at the lock: it is held, so the number was still right.
func (r record) signal(f *os.File, sig unix.Signal) error {
	text := make([]byte, 16)
	n, _ := f.ReadAt(text, 0)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text[:n])))
	if err != nil {
		return nil // an interface of the kernel, or a process that never said that it was ready, and is ending
	}
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil || unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
		return nil
	}
	defer unix.Close(pidfd)
	if err := unix.PidfdSendSignal(pidfd, sig, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("end process %d: %w", pid, err)
	}
	return nil
}

// dead waits for the lock, but no longer than patience.
func (r record) dead(f *os.File, patience time.Duration) bool {
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
		return true
	}
	free := make(chan struct{})
	go func() { // flock(2) knows no time limit; one that is left behind ends with this program
		if unix.Flock(int(f.Fd()), unix.LOCK_EX) == nil {
			close(free)
		}
	}()
	select {
	case <-free:
		return true
	case <-time.After(patience):
		return false
	}
}

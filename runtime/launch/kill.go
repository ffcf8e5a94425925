package launch

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"
)

// rememberCgroup notes where the processes of container will be listed. libcontainer itself cannot be asked while it
// starts one.
func (s *start) rememberCgroup(container *libcontainer.Container) error {
	state, err := container.State()
	if err != nil {
		return err
	}
	for _, hierarchy := range []string{"", "devices"} { // cgroup v2, and the one that libcontainer insists on of v1
		if dir, ok := state.CgroupPaths[hierarchy]; ok && dir != "" {
			s.cgroup.Store(&dir)
			return nil
		}
	}
	return errors.New("the app would be in no cgroup")
}

// haveJoined reports whether each app is in its cgroup of v2, or will never be.
func haveJoined(starts []*start) bool {
	for _, s := range starts {
		select {
		case <-s.done:
			continue
		default:
		}
		dir := s.cgroup.Load()
		if dir == nil {
			return false
		}
		if procs, err := os.ReadFile(filepath.Join(*dir, "cgroup.procs")); err != nil || len(procs) == 0 {
			return false
		}
	}
	return true
}

// killAll kills whatever of starts is in its cgroup. A process that is not there yet waits for us, in libcontainer's first
// stage, and dies when we are gone; one that is there may be deaf to that: it has joined the pod, or run in the host's PID
// namespace where no reaper takes it along.
func killAll(starts []*start) error {
	var errs []error
	for _, s := range starts {
		if dir := s.cgroup.Load(); dir != nil {
			if err := killCgroup(*dir); err != nil {
				errs = append(errs, fmt.Errorf("kill app %s: %w", s.app.Name, err))
			}
		}
	}
	return errors.Join(errs...)
}

// killCgroup kills all that are in a cgroup: at one stroke where the kernel can (v2, 5.14), else until nobody is left who
// could fork.
func killCgroup(dir string) error {
	if os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0) == nil {
		return nil
	}
	for {
		data, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) { // not made yet, or just removed
			return nil
		}
		if err != nil {
			return err
		}
		alive := 0
		for field := range strings.FieldsSeq(string(data)) {
			pid, err := strconv.Atoi(field)
			if err != nil {
				return err
			}
			if pid == os.Getpid() {
				continue // a thread of ours, from which somebody is being born: he will not be, without us
			}
			if unix.Kill(pid, unix.SIGKILL) == nil && !dying(pid) {
				alive++
			}
		}
		if alive == 0 {
			return nil
		}
	}
}

// dying reports that pid will not run again, though its cgroup may still list it.
func dying(pid int) bool {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return true
	}
	_, rest, _ := strings.Cut(string(data), ") ")
	return strings.HasPrefix(rest, "Z") || strings.HasPrefix(rest, "X")
}

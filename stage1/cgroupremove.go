package stage1

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// busyPatience is how long cgroups may be busy whose processes are dead.
const busyPatience = 10 * time.Second

// removeKilling removes cgroups whose processes are dead. A client that enters an app in the moment of its end may be in one, or what he
// starts: kill is for those.
func removeKilling(kill, remove func() error) error {
	for deadline := time.Now().Add(busyPatience); ; {
		err := remove()
		if !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
			return err
		}
		if err := kill(); err != nil {
			return err
		}
		time.Sleep(time.Millisecond) //nolint:forbidigo // the kernel tells nobody when a v1 cgroup gets empty
	}
}

// removeCgroups removes dirs and all below. A missing one is no error.
func removeCgroups(dirs []string) error {
	remove := func() error {
		var errs []error
		for _, dir := range dirs {
			errs = append(errs, removeCgroup(dir))
		}
		return errors.Join(errs...)
	}
	return removeKilling(func() error { return killCgroups(dirs, "", killPatience) }, remove)
}

func (s *supervisor) removePodCgroups() error {
	return removeKilling(s.killEntering, s.removeDeadCgroups)
}

// killEntering kills who entered an app when it was over.
func (s *supervisor) killEntering() error {
	err := killCgroups(s.cgroup.dirs, s.cgroup.supervisor, killPatience)
	if h := s.cgroup.hybrid; h != nil && h.cgroup != nil {
		err = errors.Join(err, killIn(h.cgroup))
	}
	return err
}

// removeDeadCgroups leaves the supervisor's own cgroup to systemd, who removes it with the unit: we are still in it.
func (s *supervisor) removeDeadCgroups() error {
	cg := s.cgroup
	for _, dir := range cg.dirs {
		if dir == cg.supervisor {
			continue
		}
		for a := range s.apps {
			_ = unix.Rmdir(filepath.Join(dir, a.Name)) // most often all there is: then nothing has to be listed
		}
		if err := removeCgroup(dir); err != nil {
			return err
		}
	}
	if cg.hybrid != nil && cg.hybrid.cgroup != nil {
		return cg.hybrid.remove()
	}
	return nil
}

func removeCgroup(dir string) error {
	err := unix.Rmdir(dir)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	entries, readErr := os.ReadDir(dir)
	switch {
	case errors.Is(readErr, unix.ENOENT): // under a read-only file system, as systemd mounts /sys/fs/cgroup of hybrid hosts, where a hierarchy is hidden
		return nil
	case readErr != nil:
		return errors.Join(err, readErr)
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeCgroup(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove cgroup %s: %w", dir, err)
	}
	return nil
}

package stage1

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// hybrid is the pod's cgroup in the cgroup2 of a hybrid host: the one in which such a host's systemd counts the processes of a
// unit, though no controller is there.
//
// libcontainer would put each app into a cgroup at the top of that hierarchy, out of our unit. So it does not get to see it: it
// is unmounted in the pod's own mount namespace, by stage0 where that starts the launcher; and there the apps stay where the launcher is, in the
// unit's own cgroup: to move a process, the kernel has the whole machine wait. Only what network plugins start has the pod's.
type hybrid struct {
	mount  string   // of the hierarchy
	hidden *os.File // that, once it was unmounted
	dir    string   // the pod's cgroup
	parent *os.File
	cgroup *os.File
}

// hide takes the hierarchy out of this mount namespace; descriptors go on working.
func (h *hybrid) hide() (err error) {
	if h.hidden != nil {
		return nil
	}
	if h.hidden, err = os.Open(h.mount); err != nil {
		return err
	}
	if err := unix.Unmount(h.mount, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("hide %s: %w", h.mount, err)
	}
	return nil
}

// make makes the cgroup.
func (h *hybrid) make() error {
	parent, name := filepath.Split(h.dir)
	own, err := filepath.Rel(h.mount, parent)
	if err != nil {
		return err
	}
	if h.parent, err = os.Open(filepath.Join(fmt.Sprintf("/proc/self/fd/%d", h.hidden.Fd()), own)); err != nil {
		return err
	}
	if err := unix.Mkdirat(int(h.parent.Fd()), name, 0o755); err != nil {
		return &os.PathError{Op: "mkdir", Path: h.dir, Err: err}
	}
	fd, err := unix.Openat(int(h.parent.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return errors.Join(&os.PathError{Op: "open", Path: h.dir, Err: err}, h.remove())
	}
	h.cgroup = os.NewFile(uintptr(fd), h.dir)
	return nil
}

// remove removes the cgroup. Whatever lived there must be dead.
func (h *hybrid) remove() error {
	err := unix.Unlinkat(int(h.parent.Fd()), filepath.Base(h.dir), unix.AT_REMOVEDIR)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove cgroup %s: %w", h.dir, err)
	}
	return nil
}

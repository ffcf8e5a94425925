package stage1

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// hybrid is the pod's cgroup in the cgroup2 of a hybrid host: the one in which such a host's systemd counts the processes of a
// unit, though no controller is there.
//
// libcontainer would put each app into a cgroup at the top of that hierarchy, out of our unit. So it does not get to see it: it
// is unmounted in the pod's own mount namespace, by stage0 where that starts the launcher, and the launcher is moved to the pod's cgroup before it
// gets its request, or born there: and there the apps stay.
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

// make makes the cgroup. That waits for a launcher that has the kernel ready for moves between cgroups: whatever can be done before is done
// before.
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

// adopt moves a launcher that was started before there was a cgroup.
func (cg *podCgroup) adopt(launcher int) error {
	if cg.hybrid == nil {
		return nil
	}
	procs, err := unix.Openat(int(cg.hybrid.cgroup.Fd()), "cgroup.procs", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		_, err = unix.Write(procs, []byte(strconv.Itoa(launcher)))
		_ = unix.Close(procs)
	}
	if err != nil {
		return fmt.Errorf("move gantry-launch to cgroup %s: %w", cg.hybrid.dir, err)
	}
	return nil
}

// fd is where a launcher is to be born; nil: where we are.
func (cg *podCgroup) fd() *os.File {
	if cg.hybrid == nil {
		return nil
	}
	return cg.hybrid.cgroup
}

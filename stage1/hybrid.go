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
// is unmounted in the pod's own mount namespace, and the launcher is born in the pod's cgroup, where the apps then stay.
type hybrid struct {
	mount  string // of the hierarchy
	dir    string // the pod's cgroup
	parent *os.File
	cgroup *os.File
}

// make makes the cgroup, and takes the hierarchy out of this mount namespace; the descriptors go on working.
func (h *hybrid) make() (err error) {
	if h.parent, err = os.Open(filepath.Dir(h.dir)); err != nil {
		return err
	}
	if err := os.Mkdir(h.dir, 0o755); err != nil {
		return err
	}
	if h.cgroup, err = os.Open(h.dir); err != nil {
		return errors.Join(err, h.remove())
	}
	if err := unix.Unmount(h.mount, unix.MNT_DETACH); err != nil {
		return errors.Join(fmt.Errorf("hide %s: %w", h.mount, err), h.remove())
	}
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

// fd is where the launcher is to be born; nil: where we are.
func (cg *podCgroup) fd() *os.File {
	if cg.hybrid == nil {
		return nil
	}
	return cg.hybrid.cgroup
}

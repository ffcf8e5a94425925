package stage1

import (
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods"
)

// removePod takes the pod directory away (run --rm): the supervisor's last act, after exit.json, under the life lock that it still has and
// the gc lock. Whoever waits for the pod wakes up to find it gone. Where it fails, or the supervisor was killed before, gc has the
// pod like any other that is over.
func (s *supervisor) removePod() error {
	gc, err := s.pod.LockGC()
	if err != nil {
		return fmt.Errorf("remove pod %s: %w", s.pod.UUID, err)
	}
	for a := range s.apps {
		rootfs := s.rootfs(a.App)
		if err := unix.Unmount(rootfs, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			return errors.Join(fmt.Errorf("unmount %s: %w", rootfs, err), gc.Release()) // EINVAL: it was not mounted
		}
	}
	s.unmountShared()
	data := filepath.Dir(filepath.Dir(s.opts.Path))
	return errors.Join(pods.In(data).Remove(s.pod), gc.Release())
}

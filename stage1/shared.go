package stage1

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods"
)

// mountShared mounts the memory that apps of the pod share, in the supervisor's own mount namespace, from where it is bound into them:
// it goes with the last process of the pod and needs no undo.
func (s *supervisor) mountShared() error {
	for _, v := range s.manifest.Volumes {
		if !v.Shared {
			continue
		}
		dir := filepath.Join(s.opts.Path, pods.VolumePath(v.Name))
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, s.tmpfsOptions(v)); err != nil {
			return fmt.Errorf("mount volume %s: %w", v.Name, err)
		}
	}
	return nil
}

func (s *supervisor) tmpfsOptions(v pods.Volume) string {
	uid, gid, mode := v.UID, v.GID, v.Mode
	if s.users != nil {
		uid, gid = uid+s.users.Base, gid+s.users.Base
	}
	if mode == 0 {
		mode = 0o1777
	}
	options := fmt.Sprintf("mode=%o,uid=%d,gid=%d", mode, uid, gid)
	if v.Size > 0 {
		options += ",size=" + strconv.FormatInt(v.Size, 10)
	}
	return options
}

// unmountShared is for who is about to delete the pod directory while the namespace is still there.
func (s *supervisor) unmountShared() {
	for _, v := range s.manifest.Volumes {
		dir := filepath.Join(s.opts.Path, pods.VolumePath(v.Name))
		if v.Propagation == pods.PropagationShared {
			// First apart, or what is mounted below would be unmounted on the host.
			if unix.Mount("", dir, "", unix.MS_REC|unix.MS_PRIVATE, "") != nil {
				continue
			}
		}
		if v.Shared || v.Propagation == pods.PropagationShared {
			_ = unix.Unmount(dir, unix.MNT_DETACH) // else the deletion fails, and says so
		}
	}
}

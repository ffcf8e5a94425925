package image

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/image/erofs"
)

// mountImage mounts an index over its tars at point. Here on the host the image's content is inert: pods execute it
// through overlays of their own, which take no flags over from their layers.
func mountImage(index string, tars []string, point string) error {
	attr := unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC
	err := erofs.MountAt(index, tars, point, erofs.MountOptions{Attr: attr})
	if errors.Is(err, erofs.ErrNotSupported) {
		return fmt.Errorf("%w: use --store=dir: %w", ErrBackend, err)
	}
	return err
}

// isErofsMount asks the kernel, in our own mount namespace, whether path is the root of an EROFS mount. A file that
// says so would lie after a reboot, in another namespace, and after somebody's umount.
func isErofsMount(path string) bool {
	var st unix.Statfs_t
	if unix.Statfs(path, &st) != nil || st.Type != unix.EROFS_SUPER_MAGIC_V1 {
		return false
	}
	var stx unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, 0, &stx)
	return err == nil && stx.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}

// unmount takes the mount at point away, or does nothing if there is none. Pods that stand on it keep the file system
// alive: overlayfs holds a clone of the mount.
func unmount(point string) error {
	err := unix.Unmount(point, unix.UMOUNT_NOFOLLOW)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return &os.PathError{Op: "umount", Path: point, Err: err}
	}
	return nil
}

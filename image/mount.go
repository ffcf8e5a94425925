package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/image/erofs"
)

// mountImage mounts an index over its tars at point. Here on the host the image's content is inert: pods execute it
// through overlays of their own, which take no flags over from their layers.
func mountImage(index string, tars []string, point string) error {
	return attachImage(index, tars, point, false)
}

func attachImage(index string, tars []string, point string, beneath bool) error {
	err := erofs.MountAt(index, tars, point, erofs.MountOptions{
		Attr:     unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC,
		DirectIO: takesDirectIO(tars), Beneath: beneath,
	})
	if errors.Is(err, erofs.ErrNotSupported) {
		return fmt.Errorf("%w: use --store=dir: %w", ErrBackend, err)
	}
	return err
}

// takesDirectIO says whether all tars can be read past their own page cache, from any block of 512 bytes on; a disk
// with sectors of 4 KiB refuses. Where it works every byte is cached once, as the image's, instead of twice, and
// nothing is read ahead that belongs to a tar and not to a file. Measured on 6.18 and ext4, an image of 25,113 files,
// a 20th of them (24 MB) read cold: 0.4 to 0.5 s and 69 MB of cache, against 1.2 to 1.6 s and 270 to 390 MB. Only what
// fetch has just left in the cache is read faster without.
func takesDirectIO(tars []string) bool {
	for _, tar := range tars {
		var stx unix.Statx_t
		err := unix.Statx(unix.AT_FDCWD, tar, 0, unix.STATX_DIOALIGN, &stx) // Linux 6.1
		if err != nil || stx.Mask&unix.STATX_DIOALIGN == 0 || stx.Dio_offset_align == 0 || stx.Dio_offset_align > erofs.BlockSize {
			return false
		}
	}
	return true
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

// remountImage puts a new mount in the place of the one at point. It is attached beneath the old one before that goes, so
// that whoever opens point always finds the image; pods that stand on the old one keep it.
func remountImage(index string, tars []string, point string) error {
	if err := attachImage(index, tars, point, true); err != nil {
		return err
	}
	if err := unix.Unmount(point, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
		return &os.PathError{Op: "umount", Path: point, Err: err}
	}
	return nil
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

// remount has every image that is mounted from files that were replaced mounted from the new ones.
func (s *Store) remount(ctx context.Context, replaced map[digest.Digest]bool) error {
	if len(replaced) == 0 {
		return nil
	}
	release, err := s.Hold() // GC unmounts, too
	if err != nil {
		return err
	}
	defer release()
	images, _ := s.List(ctx) // one with a broken record has to be repaired itself
	unlock, err := s.lockMounts(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	var errs error
	done := map[digest.Digest]bool{}
	for _, img := range images {
		if done[img.ChainID] || !replaced[img.ChainID] && !slices.ContainsFunc(img.DiffIDs, func(d digest.Digest) bool { return replaced[d] }) {
			continue
		}
		done[img.ChainID] = true
		point, err := s.mountPoint(img.ChainID)
		if err == nil && isErofsMount(point) {
			err = remountImage(filepath.Join(s.treeDir(img.ChainID), treeIndex), s.tarPaths(img), point)
		}
		errs = errors.Join(errs, err)
	}
	return errs
}

package image

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// mountErofs mounts index, which we built ourselves, over the tars that it points into, at point. Devices go to the
// kernel one by one: the option string of mount(2) ends at 4 KiB, some 40 layers.
func mountErofs(index string, tars []string, point string) error {
	fd, err := unix.Fsopen("erofs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return fmt.Errorf("fsopen erofs: %w", err)
	}
	fsfd := os.NewFile(uintptr(fd), "fsopen")
	defer fsfd.Close()
	if err := configure(fd, index, tars); err != nil {
		return fmt.Errorf("erofs of %s: %w%s", index, err, kernelSays(fsfd))
	}
	// Image content is the pod's to execute, through its overlay; here on the host it is inert.
	attrs := unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC
	mnt, err := unix.Fsmount(fd, unix.FSMOUNT_CLOEXEC, attrs)
	if err != nil {
		return fmt.Errorf("fsmount %s: %w", index, err)
	}
	defer unix.Close(mnt)
	if err := unix.MoveMount(mnt, "", unix.AT_FDCWD, point, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("move_mount to %s: %w", point, err)
	}
	return nil
}

func configure(fd int, index string, tars []string) error {
	if err := unix.FsconfigSetString(fd, "source", index); err != nil {
		return fmt.Errorf("set source: %w", err)
	}
	for _, tar := range tars {
		if err := unix.FsconfigSetString(fd, "device", tar); err != nil {
			return fmt.Errorf("add device %s: %w", tar, err)
		}
	}
	if err := unix.FsconfigSetFlag(fd, "ro"); err != nil {
		return fmt.Errorf("set ro: %w", err)
	}
	if err := unix.FsconfigCreate(fd); err != nil {
		return fmt.Errorf("create superblock: %w", err)
	}
	return nil
}

// kernelSays collects what the kernel wrote about this mount (fsopen(2): "e message", one a read).
func kernelSays(fsfd *os.File) string {
	var said []string
	buf := make([]byte, 1024)
	for len(said) < 8 {
		n, err := unix.Read(int(fsfd.Fd()), buf)
		if err != nil || n <= 0 {
			break
		}
		said = append(said, strings.TrimSpace(string(buf[:n])))
	}
	if len(said) == 0 {
		return ""
	}
	return " (kernel: " + strings.Join(said, "; ") + ")"
}

// unmount takes the mount at point away. Pods that stand on it keep it alive: overlayfs holds a clone of its own.
func unmount(point string) error {
	err := unix.Unmount(point, unix.UMOUNT_NOFOLLOW)
	if errors.Is(err, unix.EINVAL) { // not a mount
		err = nil
	}
	if err != nil {
		return &os.PathError{Op: "umount", Path: point, Err: err}
	}
	return nil
}

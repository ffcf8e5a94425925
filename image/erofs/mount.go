package erofs

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// MountOptions tell how to mount an index. The zero value mounts read-only, nosuid left off (setuid programs of an image work
// in its pod), device nodes usable, and reads through the page caches of the index's own inodes and of the tars.
type MountOptions struct {
	Attr     int  // MOUNT_ATTR_* besides MOUNT_ATTR_RDONLY
	DirectIO bool // read the tars without filling their page cache as well
	Beneath  bool // MountAt attaches below what is mounted there already, and comes to light when that goes. Linux 6.5
}

// ErrNotSupported says that this kernel, or the file system that the files lie on, cannot mount an index from files:
// Linux before 6.12, no EROFS, or files on tmpfs or overlayfs. The directory backend is the way out.
var ErrNotSupported = errors.New("mounting an index from files is not supported here")

// Mount makes a detached mount of an index over its devices, and returns its descriptor, which the caller attaches with
// move_mount(2) or drops with close. Every path is resolved in the caller's mount namespace, once; devices are given one by one, so
// that their number is not limited by the 4 KiB of mount(2)'s options.
func Mount(index string, devices []string, opts MountOptions) (int, error) {
	fs, err := unix.Fsopen("erofs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOSYS) {
			err = fmt.Errorf("%w: %w", ErrNotSupported, err)
		}
		return -1, fmt.Errorf("open erofs: %w", err)
	}
	defer func() { _ = unix.Close(fs) }()
	if err := configure(fs, index, devices, opts); err != nil {
		return -1, err
	}
	mnt, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, opts.Attr|unix.MOUNT_ATTR_RDONLY)
	if err != nil {
		return -1, fmt.Errorf("mount index %s: %w", index, err)
	}
	return mnt, nil
}

func configure(fs int, index string, devices []string, opts MountOptions) error {
	if err := unix.FsconfigSetString(fs, "source", index); err != nil {
		return fmt.Errorf("set source %s: %w", index, err)
	}
	for _, d := range devices {
		if err := unix.FsconfigSetString(fs, "device", d); err != nil {
			return fmt.Errorf("set device %s: %w", d, err)
		}
	}
	if err := unix.FsconfigSetFlag(fs, "ro"); err != nil {
		return fmt.Errorf("set read-only: %w", err)
	}
	if opts.DirectIO {
		if err := unix.FsconfigSetFlag(fs, "directio"); err != nil {
			return fmt.Errorf("set directio: %w", err)
		}
	}
	err := unix.FsconfigCreate(fs)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENOTBLK):
		return fmt.Errorf("mount index %s: %w: %w", index, ErrNotSupported, err)
	}
	if said := kernelSays(fs); said != "" {
		return fmt.Errorf("mount index %s: %w: %s", index, err, said)
	}
	return fmt.Errorf("mount index %s: %w", index, err)
}

// kernelSays reads what the kernel logged into the descriptor of fsopen(2).
func kernelSays(fs int) string {
	var said []string
	buf := make([]byte, 512)
	for {
		n, err := unix.Read(fs, buf)
		if err != nil || n <= 0 {
			return strings.Join(said, "; ")
		}
		said = append(said, strings.TrimSpace(string(buf[:n])))
	}
}

const moveMountBeneath = 0x200 // MOVE_MOUNT_BENEATH of linux/mount.h

// MountAt mounts an index at a directory that exists.
func MountAt(index string, devices []string, dir string, opts MountOptions) error {
	mnt, err := Mount(index, devices, opts)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(mnt), "erofs")
	defer func() { _ = f.Close() }()
	flags := unix.MOVE_MOUNT_F_EMPTY_PATH
	if opts.Beneath {
		flags |= moveMountBeneath
	}
	if err := unix.MoveMount(mnt, "", unix.AT_FDCWD, dir, flags); err != nil {
		return fmt.Errorf("attach index %s at %s: %w", index, dir, err)
	}
	return nil
}

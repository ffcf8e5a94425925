package layer

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/gantryrun/gantry/image/erofs"
	"golang.org/x/sys/unix"
)

// makeFile makes a regular file with its content.
func (u *unpacker) makeFile(dir int, name string, i *erofs.Inode) error {
	fd, err := unix.Openat(dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("create: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	if err := u.fill(fd, i); err != nil {
		return fmt.Errorf("copy data: %w", err)
	}
	return setByDescriptor(fd, i)
}

// fill copies the data of a file; holes stay holes.
func (u *unpacker) fill(fd int, i *erofs.Inode) error {
	if i.Size == 0 {
		return nil
	}
	tar := u.tars[i.Device-1]
	if i.Sparse == nil {
		return copyRange(fd, 0, tar, i.Offset, i.Size)
	}
	data := i.Offset
	for _, s := range i.Sparse {
		if err := copyRange(fd, s.Offset, tar, data, s.Length); err != nil {
			return err
		}
		data += s.Length
	}
	return unix.Ftruncate(fd, i.Size)
}

// copyRange copies within the kernel, sharing blocks where the file system can; where it cannot copy, through memory.
func copyRange(to int, toOffset int64, from *os.File, fromOffset, n int64) error {
	for n > 0 {
		copied, err := unix.CopyFileRange(int(from.Fd()), &fromOffset, to, &toOffset, int(min(n, 1<<30)), 0)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EXDEV), errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
			return copyThroughMemory(to, toOffset, from, fromOffset, n)
		case err != nil:
			return err
		case copied == 0:
			return io.ErrUnexpectedEOF
		}
		n -= int64(copied)
	}
	return nil
}

func copyThroughMemory(to int, toOffset int64, from *os.File, fromOffset, n int64) error {
	buf := make([]byte, min(n, 1<<20))
	for n > 0 {
		got, err := from.ReadAt(buf[:min(n, int64(len(buf)))], fromOffset)
		if got == 0 {
			return errors.Join(io.ErrUnexpectedEOF, err)
		}
		for part := buf[:got]; len(part) > 0; {
			wrote, err := unix.Pwrite(to, part, toOffset)
			if err != nil && !errors.Is(err, unix.EINTR) {
				return err
			}
			part = part[max(0, wrote):]
			toOffset += int64(max(0, wrote))
		}
		fromOffset += int64(got)
		n -= int64(got)
	}
	return nil
}

// setByDescriptor gives a file or directory its attributes. The order matters: a change of owner takes setuid bits and
// file capabilities away.
func setByDescriptor(fd int, i *erofs.Inode) error {
	if err := unix.Fchown(fd, int(i.UID), int(i.GID)); err != nil {
		return fmt.Errorf("chown: %w", err)
	}
	if err := unix.Fchmod(fd, i.Mode&0o7777); err != nil {
		return fmt.Errorf("chmod: %w", err)
	}
	for _, x := range i.Xattrs {
		if err := unix.Fsetxattr(fd, x.Name, []byte(x.Value), 0); err != nil {
			return fmt.Errorf("set xattr %q: %w", shorten(x.Name), err)
		}
	}
	if err := unix.UtimesNanoAt(fd, "", times(i), unix.AT_EMPTY_PATH); err != nil { // Linux 5.8
		return fmt.Errorf("set time: %w", err)
	}
	return nil
}

// setLink gives a symbolic link its attributes.
func setLink(dir int, name string, i *erofs.Inode) error {
	if err := unix.Fchownat(dir, name, int(i.UID), int(i.GID), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("chown: %w", err)
	}
	if err := unix.UtimesNanoAt(dir, name, times(i), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("set time: %w", err)
	}
	return nil
}

// setNode gives a device or FIFO its attributes without opening what it stands for. fchmodat(2) follows links, so the mode is set
// through the descriptor's name in /proc.
func setNode(dir int, name string, i *erofs.Inode) error {
	fd, err := unix.Openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open node: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.Fchownat(fd, "", int(i.UID), int(i.GID), unix.AT_EMPTY_PATH); err != nil {
		return fmt.Errorf("chown: %w", err)
	}
	if err := unix.Chmod("/proc/self/fd/"+strconv.Itoa(fd), i.Mode&0o7777); err != nil {
		return fmt.Errorf("chmod: %w", err)
	}
	if err := unix.UtimesNanoAt(fd, "", times(i), unix.AT_EMPTY_PATH); err != nil {
		return fmt.Errorf("set time: %w", err)
	}
	return nil
}

func times(i *erofs.Inode) []unix.Timespec {
	t := unix.Timespec{Sec: i.Sec, Nsec: int64(i.Nsec)}
	return []unix.Timespec{t, t}
}

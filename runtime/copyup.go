package runtime

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// copyUp fills the empty directory to with what the image has at from, as podman does for the volumes of an image: files with their hard links,
// directories, symbolic links and FIFOs, with owners, modes, times and the extended attributes that an image may set. Both sides are open
// roots: no link of the image leads out of either. Devices and sockets stay behind. A from that is no directory is an empty volume.
func (r imageRoot) copyUp(from string, to *os.Root) error {
	dir, err := r.open(from, unix.O_PATH|unix.O_DIRECTORY)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	src, err := os.OpenRoot(fmt.Sprintf("/proc/self/fd/%d", dir.Fd()))
	if err != nil {
		return err
	}
	defer src.Close()
	c := &copier{src: src, dst: to, first: map[uint64]string{}}
	err = fs.WalkDir(src.FS(), ".", func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return c.copy(name)
	})
	for _, d := range c.dirs {
		err = errors.Join(err, to.Chtimes(d.name, d.info.ModTime(), d.info.ModTime()))
	}
	if err != nil {
		return fmt.Errorf("copy %s of the image into its volume: %w", from, err)
	}
	return nil
}

// copier copies a tree of one file system from src to dst.
type copier struct {
	src, dst *os.Root
	first    map[uint64]string // first name of each inode with several
	dirs     []copiedDir       // that get their times last: to make names in them changes those
}

type copiedDir struct {
	name string
	info fs.FileInfo
}

func (c *copier) copy(name string) error {
	info, err := c.src.Lstat(name)
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("%s: no owner", name)
	}
	if !info.IsDir() && st.Nlink > 1 {
		if first, ok := c.first[st.Ino]; ok {
			return c.dst.Link(first, name)
		}
		c.first[st.Ino] = name
	}
	switch info.Mode().Type() {
	case fs.ModeDir:
		return c.dir(name, info, st)
	case 0:
		return c.file(name, info, st)
	case fs.ModeSymlink:
		target, err := c.src.Readlink(name)
		if err == nil {
			err = c.dst.Symlink(target, name)
		}
		return errors.Join(err, c.dst.Lchown(name, int(st.Uid), int(st.Gid)))
	case fs.ModeNamedPipe:
		return c.fifo(name, info, st)
	}
	delete(c.first, st.Ino)
	return nil
}

func (c *copier) dir(name string, info fs.FileInfo, st *syscall.Stat_t) error {
	if name != "." {
		if err := c.dst.Mkdir(name, 0o700); err != nil {
			return err
		}
	}
	c.dirs = append(c.dirs, copiedDir{name, info})
	in, err := c.src.Open(name)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := c.dst.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(copyAttributes(in, out, info, st), out.Close())
}

func (c *copier) file(name string, info fs.FileInfo, st *syscall.Stat_t) error {
	in, err := c.src.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := c.dst.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err = io.Copy(out, in); err == nil {
		err = copyAttributes(in, out, info, st)
	}
	return errors.Join(err, out.Close(), c.dst.Chtimes(name, info.ModTime(), info.ModTime()))
}

func (c *copier) fifo(name string, info fs.FileInfo, st *syscall.Stat_t) error {
	parent, err := c.dst.Open(path.Dir(name))
	if err != nil {
		return err
	}
	err = unix.Mkfifoat(int(parent.Fd()), path.Base(name), 0o600)
	return errors.Join(err, parent.Close(), c.dst.Lchown(name, int(st.Uid), int(st.Gid)), c.dst.Chmod(name, info.Mode()),
		c.dst.Chtimes(name, info.ModTime(), info.ModTime()))
}

// copyAttributes gives out what in has. The owner first: changing it takes setuid bits and capabilities away.
func copyAttributes(in, out *os.File, info fs.FileInfo, st *syscall.Stat_t) error {
	if err := errors.Join(out.Chown(int(st.Uid), int(st.Gid)), out.Chmod(info.Mode())); err != nil {
		return err
	}
	n, err := unix.Flistxattr(int(in.Fd()), nil)
	if errors.Is(err, unix.ENOTSUP) || err == nil && n == 0 { // as of most
		return nil
	}
	names := make([]byte, 64<<10) // XATTR_LIST_MAX
	if n, err = unix.Flistxattr(int(in.Fd()), names); err != nil {
		return fmt.Errorf("list attributes: %w", err)
	}
	value := make([]byte, 64<<10) // XATTR_SIZE_MAX
	for name := range strings.SplitSeq(string(names[:n]), "\x00") {
		if !strings.HasPrefix(name, "user.") && name != "security.capability" {
			continue // a security module's: the host's
		}
		n, err := unix.Fgetxattr(int(in.Fd()), name, value)
		if err == nil {
			err = unix.Fsetxattr(int(out.Fd()), name, value[:n], 0)
		}
		if err != nil {
			return fmt.Errorf("copy attribute %q: %w", name, err)
		}
	}
	return nil
}

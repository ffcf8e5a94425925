package runtime

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// copyUp fills the empty directory to with what the image has at from, as podman does for the volumes of an image: files,
// directories and symbolic links, with owners and modes. Both sides are open roots: no link of the image leads out of either.
// Devices, sockets and extended attributes stay behind. A from that is no directory is an empty volume.
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
	err = fs.WalkDir(src.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return copyEntry(src, to, name)
	})
	if err != nil {
		return fmt.Errorf("copy %s of the image into its volume: %w", from, err)
	}
	return nil
}

func copyEntry(src, dst *os.Root, name string) error {
	info, err := src.Lstat(name)
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("%s: no owner", name)
	}
	switch info.Mode().Type() {
	case fs.ModeDir:
		if name != "." {
			err = dst.Mkdir(name, 0o700)
		}
	case 0:
		err = copyFile(src, dst, name)
	case fs.ModeSymlink:
		var target string
		if target, err = src.Readlink(name); err == nil {
			err = dst.Symlink(target, name)
		}
		return errors.Join(err, dst.Lchown(name, int(st.Uid), int(st.Gid)))
	default:
		return nil
	}
	if err != nil {
		return err
	}
	// The owner first: changing it takes setuid bits away.
	return errors.Join(dst.Chown(name, int(st.Uid), int(st.Gid)), dst.Chmod(name, info.Mode()))
}

func copyFile(src, dst *os.Root, name string) error {
	in, err := src.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := dst.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

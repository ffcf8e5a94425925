package runtime

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/runtime/bundle"
)

// imageRoot reads in the tree of an image. An image is foreign: its symbolic links are followed inside its own root only, and what
// it has in place of /etc/passwd may be a FIFO, a device, or ten gigabytes.
type imageRoot struct{ lower []string }

// open opens name, as it would be in the app, in the highest layer directory that has it.
func (r imageRoot) open(name string, flags int) (*os.File, error) {
	for _, dir := range r.lower {
		root, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("open %s: %w", dir, err)
		}
		fd, err := unix.Openat2(root, name, &unix.OpenHow{
			Flags:   uint64(flags | unix.O_CLOEXEC),
			Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
		})
		_ = unix.Close(root)
		if err == nil {
			return os.NewFile(uintptr(fd), name), nil
		}
		if !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTDIR) && !errors.Is(err, unix.ELOOP) {
			return nil, fmt.Errorf("open %q of the image: %w", name, err)
		}
	}
	return nil, fmt.Errorf("%q: %w in the image", name, fs.ErrNotExist)
}

// read reads a small regular file. One that is missing is empty.
func (r imageRoot) read(name string, limit int64) ([]byte, error) {
	f, err := r.open(name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size > limit {
		return nil, fmt.Errorf("%s of the image is no regular file of at most %d bytes", name, limit)
	}
	return io.ReadAll(io.LimitReader(f, limit))
}

// stat says who owns name.
func (r imageRoot) stat(name string) (unix.Stat_t, error) {
	var st unix.Stat_t
	f, err := r.open(name, unix.O_PATH)
	if err != nil {
		return st, err
	}
	defer f.Close()
	return st, unix.Fstat(int(f.Fd()), &st)
}

// accounts are the image's users.
func (r imageRoot) accounts() (bundle.Accounts, error) {
	passwd, err := r.read("/etc/passwd", bundle.MaxAccounts)
	if err != nil {
		return bundle.Accounts{}, err
	}
	group, err := r.read("/etc/group", bundle.MaxAccounts)
	owner := func(path string) (uid, gid uint32, err error) {
		st, err := r.stat(path)
		return st.Uid, st.Gid, err
	}
	return bundle.Accounts{Passwd: passwd, Group: group, Owner: owner}, err
}

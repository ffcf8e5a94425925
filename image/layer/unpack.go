package layer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/gantryrun/gantry/image/erofs"
	"golang.org/x/sys/unix"
)

// Unpack makes the tree in dir, which is an empty directory on a file system that only root can reach, from the layers' tars. It is
// the backend for kernels that cannot mount an index. A nil error means that everything is there as an index would show it, owners,
// times and xattrs included; nothing is synced. After an error, or when ctx ends, dir holds a part of the tree, and is to be removed.
//
// Names never leave dir: each is made (mkdirat, O_EXCL, symlinkat, mknodat, linkat) below a descriptor of a directory that was made
// before it, so no symbolic link is ever followed.
func (t *Tree) Unpack(ctx context.Context, dir string, tars []*os.File) error {
	if len(tars) != t.layers {
		return fmt.Errorf("unpack: %d layers, %d tars", t.layers, len(tars))
	}
	root, err := unix.Open(dir, unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("unpack into %s: %w", dir, err)
	}
	defer func() { _ = unix.Close(root) }()
	if err := checkEmpty(root); err != nil {
		return fmt.Errorf("unpack into %s: %w", dir, err)
	}
	u := &unpacker{ctx: ctx, root: root, tars: tars, first: make(map[*erofs.Inode]string)}
	if err := u.directory(root, t.Root); err != nil {
		return fmt.Errorf("unpack %q into %s: %w", shorten(strings.Join(u.path, "/")), dir, err)
	}
	return nil
}

func checkEmpty(dir int) error {
	fd, err := unix.Openat(dir, ".", unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), ".")
	defer func() { _ = f.Close() }()
	switch names, err := f.Readdirnames(1); {
	case len(names) > 0:
		return fmt.Errorf("%q is there already", names[0])
	case err != nil && !errors.Is(err, io.EOF):
		return err
	}
	return nil
}

type unpacker struct {
	ctx   context.Context
	root  int
	tars  []*os.File
	first map[*erofs.Inode]string // first name of each inode with several, below the root
	path  []string                // to what is being made; after an error, to what could not be
}

// directory makes what a directory holds, and then gives it its attributes: last, because making names in it changes its time, and
// because its mode may forbid that.
func (u *unpacker) directory(fd int, dir *erofs.Inode) error {
	for _, e := range dir.Entries {
		if err := u.ctx.Err(); err != nil {
			return err
		}
		u.path = append(u.path, e.Name)
		if err := u.make(fd, e.Name, e.Inode); err != nil {
			return err
		}
		u.path = u.path[:len(u.path)-1]
	}
	return setByDescriptor(fd, dir)
}

// make makes one name.
func (u *unpacker) make(dir int, name string, i *erofs.Inode) error {
	if !i.IsDir() && i.Nlink > 1 {
		if first, ok := u.first[i]; ok {
			return u.link(first, dir, name)
		}
		u.first[i] = strings.Join(u.path, "/")
	}
	switch i.Mode & erofs.ModeType {
	case erofs.ModeDir:
		return u.makeDir(dir, name, i)
	case erofs.ModeRegular:
		return u.makeFile(dir, name, i)
	case erofs.ModeSymlink:
		if err := unix.Symlinkat(i.Target, dir, name); err != nil {
			return fmt.Errorf("symlink: %w", err)
		}
		return setLink(dir, name, i)
	default:
		number := unix.Mkdev(erofs.Major(i.Rdev), erofs.Minor(i.Rdev))
		if err := unix.Mknodat(dir, name, i.Mode&erofs.ModeType|0o600, int(number)); err != nil {
			return fmt.Errorf("mknod: %w", err)
		}
		return setNode(dir, name, i)
	}
}

func (u *unpacker) makeDir(parent int, name string, i *erofs.Inode) error {
	if err := unix.Mkdirat(parent, name, 0o700); err != nil {
		return fmt.Errorf("mkdir: %w", err)
	}
	fd, err := unix.Openat(parent, name, unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open directory: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	return u.directory(fd, i)
}

// link gives an inode another name. The way to its first name has no symbolic link in it: openat2 makes sure.
func (u *unpacker) link(first string, dir int, name string) error {
	parent, base := splitPath(first)
	how := unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	}
	if parent == "" {
		parent = "."
	}
	fd, err := unix.Openat2(u.root, parent, &how)
	if err != nil {
		return fmt.Errorf("open directory of %q: %w", shorten(first), err)
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.Linkat(fd, base, dir, name, 0); err != nil {
		return fmt.Errorf("link to %q: %w", shorten(first), err)
	}
	return nil
}

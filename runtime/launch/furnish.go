package launch

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"

	"golang.org/x/sys/unix"
)

// rootDir is the directory that is to become an app's root: an image's, and so hostile. Nothing is ever looked up through a link in it.
type rootDir int

// openRoot opens a directory of the host's.
func openRoot(path string) (rootDir, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return rootDir(fd), nil
}

func (r rootDir) close() { _ = unix.Close(int(r)) }

// open opens what is at target, an absolute path, only to name it. (With O_NOFOLLOW it would open a link in the last place.)
func (r rootDir) open(target string, flags uint64) (int, error) {
	return unix.Openat2(int(r), "."+target, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC | flags,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_SYMLINKS,
	})
}

// directory opens target, which is made, with its parents, where it is missing.
func (r rootDir) directory(target string) (int, error) {
	fd, err := r.open(target, unix.O_DIRECTORY)
	if !errors.Is(err, unix.ENOENT) || target == "/" {
		return fd, err
	}
	if err := r.in(path.Dir(target), func(parent int) error { return unix.Mkdirat(parent, path.Base(target), 0o755) }); err != nil {
		return -1, err
	}
	return r.open(target, unix.O_DIRECTORY)
}

// file opens target, an empty file where it is missing.
func (r rootDir) file(target string) (int, error) {
	fd, err := r.open(target, 0)
	if !errors.Is(err, unix.ENOENT) {
		return fd, err
	}
	err = r.in(path.Dir(target), func(parent int) error {
		fd, err := unix.Openat(parent, path.Base(target), unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o644)
		if err == nil {
			err = unix.Close(fd)
		}
		return err
	})
	if err != nil {
		return -1, err
	}
	return r.open(target, 0)
}

// in calls f with a directory that is there afterwards.
func (r rootDir) in(target string, f func(dir int) error) error {
	fd, err := r.directory(target)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return f(fd)
}

// mount makes everything. Nobody else is in the root directory yet, nor in this process's mount namespace.
func (f *furniture) mount() error {
	if len(f.Mounts) == 0 {
		return nil
	}
	root, err := openRoot(f.Rootfs)
	if err != nil {
		return err
	}
	defer root.close()
	// As libcontainer will: nothing that is mounted here is to be seen elsewhere.
	if err := unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("make mounts slaves: %w", err)
	}
	for i := range f.Mounts {
		if err := root.mount(&f.Mounts[i]); err != nil {
			return fmt.Errorf("mount %s on %s: %w", f.Mounts[i].Source, f.Mounts[i].Target, err)
		}
	}
	for i := range f.Dirs {
		if err := root.in(f.Dirs[i].Path, f.Dirs[i].fill); err != nil {
			return fmt.Errorf("fill %s: %w", f.Dirs[i].Path, err)
		}
	}
	return nil
}

func (r rootDir) mount(p *piece) error {
	open := r.directory
	if p.File {
		open = r.file
	}
	if err := mountOn(open, p, p.Source, p.Type, p.Flags, p.Data); err != nil {
		return err
	}
	// The rest is about the mount, not about what it has covered.
	for _, flag := range p.Propagation {
		if err := mountOn(open, p, "", "", flag, ""); err != nil {
			return err
		}
	}
	if p.Flags&unix.MS_BIND == 0 {
		return nil
	}
	return mountOn(open, p, "", "", p.Flags|unix.MS_REMOUNT, "") // the first mount(2) of a bind mount ignores its options
}

// mountOn calls mount(2) for the target as it is now.
func mountOn(open func(string) (int, error), p *piece, source, kind string, flags int, data string) error {
	fd, err := open(p.Target)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Mount(source, descriptorPath(fd), kind, uintptr(flags), data)
}

func descriptorPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// fill makes what d lists, exactly as it says.
func (d *dir) fill(fd int) error {
	defer unix.Umask(unix.Umask(0))
	for _, n := range d.Nodes {
		if err := n.makeIn(fd, d.Path); err != nil {
			return &os.PathError{Op: "make", Path: n.Name, Err: err}
		}
	}
	for _, l := range d.Links {
		if err := unix.Symlinkat(l.Text, fd, l.Name); err != nil && !errors.Is(err, unix.EEXIST) {
			return &os.PathError{Op: "link", Path: l.Name, Err: err}
		}
	}
	return nil
}

// makeIn makes a device. Where nobody may (a unit with DevicePolicy=, say) it is that of the host.
func (n *node) makeIn(fd int, at string) error {
	err := unix.Mknodat(fd, n.Name, n.Mode, n.Device)
	if err == nil && n.UID|n.GID != 0 {
		err = unix.Fchownat(fd, n.Name, n.UID, n.GID, unix.AT_SYMLINK_NOFOLLOW)
	}
	if !errors.Is(err, unix.EPERM) {
		return err
	}
	place, err := unix.Openat(fd, n.Name, unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(place)
	return unix.Mount(path.Join(at, n.Name), descriptorPath(place), "", unix.MS_BIND, "")
}

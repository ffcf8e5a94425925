package pods

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// maxDepth bounds how many directories are held open at once; apps make trees deeper than there are descriptors.
const maxDepth = 128

// RemoveTree deletes path and all below it, following no link and crossing into no other file system: a volume
// that somebody left mounted is an error, never a loss. A path that is not there is no error.
func RemoveTree(path string) error {
	parent, err := os.Open(filepath.Dir(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer parent.Close()
	r := remover{top: int(parent.Fd()), base: filepath.Base(path), queue: []string{filepath.Base(path)}}
	for len(r.queue) > 0 && err == nil {
		name := r.queue[0]
		r.queue = r.queue[1:]
		err = r.remove(r.top, name, 0)
	}
	if err != nil {
		return fmt.Errorf("remove %s: %w", path, err)
	}
	return nil
}

// Removed reports whether somebody has begun to delete the pod: what its files say is nothing from then on.
func (p *Pod) Removed() bool {
	d, err := p.root.Open(".")
	if err != nil {
		return errors.Is(err, fs.ErrNotExist)
	}
	defer d.Close()
	path, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", d.Fd()))
	return err == nil && filepath.Base(path) != p.UUID
}

// remover deletes one tree. What lies deeper than maxDepth is first moved up beside the tree's top, under a name that
// starts with the top's, so that a killed removal is found again by who sweeps the directory.
type remover struct {
	top   int // descriptor of the directory that holds the tree
	base  string
	queue []string
	moved int
}

func (r *remover) remove(dir int, name string, depth int) error {
	err := unix.Unlinkat(dir, name, 0)
	if err == nil || isGone(err) {
		return nil
	}
	if !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.EPERM) {
		return err
	}
	if depth > maxDepth {
		return r.moveUp(dir, name)
	}
	// RESOLVE_NO_XDEV refuses a mount point, also a bind mount of the same file system.
	fd, err := unix.Openat2(dir, name, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_SYMLINKS,
	})
	if isGone(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil && !isGone(err) {
		return err
	}
	for _, n := range names {
		if err := r.remove(fd, n, depth+1); err != nil {
			return err
		}
	}
	if err := unix.Unlinkat(dir, name, unix.AT_REMOVEDIR); err != nil && !isGone(err) {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// isGone: somebody else removes the same tree, and was faster.
func isGone(err error) bool { return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESTALE) }

func (r *remover) moveUp(dir int, name string) error {
	for {
		r.moved++
		to := r.base + "-" + strconv.Itoa(r.moved)
		err := unix.Renameat2(dir, name, r.top, to, unix.RENAME_NOREPLACE)
		if errors.Is(err, unix.EEXIST) {
			continue // of an earlier removal that was killed
		}
		if isGone(err) {
			return nil
		}
		if err == nil {
			r.queue = append(r.queue, to)
		}
		return err
	}
}

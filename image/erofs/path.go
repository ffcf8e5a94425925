package erofs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"syscall"
)

// maxFollow bounds how many symbolic links one path may take, as the kernel does (MAXSYMLINKS).
const maxFollow = 40

// ErrTooLarge says that a file is larger than the caller is ready to take.
var ErrTooLarge = errors.New("file is too large")

// ErrNotRegular says that something else than a regular file has that path.
var ErrNotRegular = errors.New("not a regular file")

// walker resolves paths inside a tree of T as the kernel would for a process whose root it is: absolute links start at its root, and
// ".." does not leave it.
type walker[T any] struct {
	child func(dir T, name string) (T, error)
	link  func(T) (target string, is bool, err error)
}

func (w walker[T]) find(root T, path string, follow bool) (T, error) {
	at := []T{root} // the directories from the root to here: ".." goes back in it
	todo := strings.Split(path, "/")
	links := 0
	for len(todo) > 0 {
		name := todo[0]
		todo = todo[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			at = at[:max(1, len(at)-1)]
			continue
		}
		next, err := w.child(at[len(at)-1], name)
		if err != nil {
			return root, err
		}
		target, is, err := w.link(next)
		if err != nil {
			return root, err
		}
		if !is || !follow && len(todo) == 0 {
			at = append(at, next)
			continue
		}
		if links++; links > maxFollow {
			return root, syscall.ELOOP
		}
		if strings.HasPrefix(target, "/") {
			at = at[:1]
		}
		todo = append(strings.Split(target, "/"), todo...)
	}
	return at[len(at)-1], nil
}

// Find resolves a path below a directory, which is the root for absolute links and for "..". With follow, a
// symbolic link in the last place is followed too. Errors are *fs.PathError.
func (i *Inode) Find(path string, follow bool) (*Inode, error) {
	w := walker[*Inode]{
		child: func(dir *Inode, name string) (*Inode, error) {
			if !dir.IsDir() {
				return nil, syscall.ENOTDIR
			}
			if c, ok := dir.Lookup(name); ok {
				return c, nil
			}
			return nil, fs.ErrNotExist
		},
		link: func(i *Inode) (string, bool, error) { return i.Target, i.IsSymlink(), nil },
	}
	found, err := w.find(i, path, follow)
	if err != nil {
		return nil, &fs.PathError{Op: "find", Path: path, Err: err}
	}
	return found, nil
}

// Find resolves a path in the index like Inode.Find, and returns the number of the inode as well.
func (m *Image) Find(path string, follow bool) (uint64, *Inode, error) {
	w := walker[uint64]{child: m.child, link: func(nid uint64) (string, bool, error) {
		i, err := m.Inode(nid)
		if err != nil {
			return "", false, err
		}
		return i.Target, i.IsSymlink(), nil
	}}
	nid, err := w.find(m.Root(), path, follow)
	if err != nil {
		return 0, nil, &fs.PathError{Op: "find", Path: path, Err: err}
	}
	i, err := m.Inode(nid)
	if err != nil {
		return 0, nil, &fs.PathError{Op: "find", Path: path, Err: err}
	}
	return nid, i, nil
}

func (m *Image) child(dir uint64, name string) (uint64, error) {
	i, err := m.Inode(dir)
	if err != nil {
		return 0, err
	}
	if !i.IsDir() {
		return 0, syscall.ENOTDIR
	}
	entries, err := m.ReadDir(dir)
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		if e.Name == name {
			return e.Nid, nil
		}
	}
	return 0, fs.ErrNotExist
}

// ReadFile reads a regular file of at most limit bytes, following symbolic links inside the image. Nothing else than a regular file
// is ever opened: a FIFO or device gives ErrNotRegular, a larger file ErrTooLarge, a missing one fs.ErrNotExist.
func (m *Image) ReadFile(path string, limit int64) ([]byte, error) {
	nid, i, err := m.Find(path, true)
	if err != nil {
		return nil, err
	}
	if err := checkReadable(i, path, limit); err != nil {
		return nil, err
	}
	r, err := m.OpenNid(nid)
	if err != nil {
		return nil, err
	}
	return readAll(r, path)
}

// ReadFile reads a regular file below a directory, from the devices its inodes name, like Image.ReadFile.
func (i *Inode) ReadFile(devices []io.ReaderAt, path string, limit int64) ([]byte, error) {
	f, err := i.Find(path, true)
	if err != nil {
		return nil, err
	}
	if err := checkReadable(f, path, limit); err != nil {
		return nil, err
	}
	r, err := f.Open(devices)
	if err != nil {
		return nil, err
	}
	return readAll(r, path)
}

func checkReadable(i *Inode, path string, limit int64) error {
	switch {
	case !i.IsRegular():
		return &fs.PathError{Op: "read", Path: path, Err: ErrNotRegular}
	case i.Size > limit:
		return &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("%w: %d bytes, at most %d are read", ErrTooLarge, i.Size, limit)}
	}
	return nil
}

func readAll(r *io.SectionReader, path string) ([]byte, error) {
	b := make([]byte, r.Size())
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, &fs.PathError{Op: "read", Path: path, Err: err}
	}
	return b, nil
}

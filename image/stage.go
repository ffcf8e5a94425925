package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Names of what is not (or no longer) part of the store. GC removes a staging directory that nobody has locked.
const (
	stagePrefix = ".new-"
	trashPrefix = ".trash-"
)

// stage is a directory in which something is made, under a lock on the directory itself. Its name follows from what
// is made, so that two who want the same thing meet: the second waits, and finds it made, or takes over if the
// first died. The lock moves with the inode when the directory is renamed to its final name.
type stage struct {
	dir   string
	final string
	lock  *os.File
	over  bool // committed or aborted
	again bool // takes the place of what is at final
}

// openStage waits for the stage whose final path is given, until ctx ends. A nil stage says that done, which is final
// or what will be made of it, exists: another made it.
func openStage(ctx context.Context, final, done string) (*stage, error) {
	dir := filepath.Join(filepath.Dir(final), stagePrefix+filepath.Base(final))
	for {
		if made, err := exists(done); err != nil || made {
			return nil, err
		}
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		lock, err := lockStage(ctx, dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue // its maker finished, or gave up, or GC swept it
		}
		if err != nil {
			return nil, err
		}
		// Its last maker may have finished between our look and our mkdir.
		made, err := exists(done)
		if err == nil && !made {
			err = emptyDir(dir) // what a dead maker left
		}
		if err == nil && !made {
			return &stage{dir: dir, final: final, lock: lock}, nil
		}
		return nil, errors.Join(err, os.RemoveAll(dir), lock.Close())
	}
}

// lockStage locks dir, and reports fs.ErrNotExist if what it locked is no longer at that path.
func lockStage(ctx context.Context, dir string) (*os.File, error) {
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	if err = flock(ctx, f, unix.LOCK_EX); err == nil {
		err = sameFile(f, dir)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func sameFile(f *os.File, path string) error {
	locked, err := f.Stat()
	if err != nil {
		return err
	}
	named, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !os.SameFile(locked, named) {
		return fs.ErrNotExist
	}
	return nil
}

func (st *stage) path(name string) string { return filepath.Join(st.dir, name) }

// commit puts the stage in its place. What lies inside has been synced, with sync; the new name is the caller's to
// make durable, with syncDirs of the directory around it.
func (st *stage) commit() error {
	if st.again {
		return st.replace()
	}
	if err := os.Rename(st.dir, st.final); err != nil {
		return err
	}
	st.over = true
	return st.lock.Close()
}

// sync makes durable which files the stage has.
func (st *stage) sync() error {
	if err := st.lock.Sync(); err != nil { // the lock is on the directory
		return fmt.Errorf("sync %s: %w", st.dir, err)
	}
	return nil
}

// abort removes what was made. After commit it does nothing.
func (st *stage) abort() error {
	if st.over {
		return nil
	}
	st.over = true
	return errors.Join(os.RemoveAll(st.dir), st.lock.Close())
}

func emptyDir(dir string) error {
	list, err := os.ReadDir(dir)
	for _, e := range list {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return err
}

// hidden says whether an entry of layers/ or images/ is not a layer or image.
func hidden(name string) bool { return strings.HasPrefix(name, ".") }

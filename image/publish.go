package image

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sync/errgroup"

	"github.com/gantryrun/gantry/pods/atomicfile"
)

// A sync waits for the file system's journal, whoever else is writing; syncs that run side by side share one wait.
// So what may become durable in any order is synced together.

// newFile is a small file that is to appear whole, and durably.
type newFile struct {
	path string
	mode fs.FileMode
	data []byte
	temp string
}

// publish writes files, syncs them, and gives them their names, in the order given, when all of them are on disk. The
// names are the caller's to sync. It is atomicfile.Write for several files at the price of one.
func publish(files ...newFile) error {
	var group errgroup.Group
	for i := range files {
		f := &files[i]
		f.temp = filepath.Join(filepath.Dir(f.path), atomicfile.Prefix+strconv.FormatUint(rand.Uint64(), 36))
		group.Go(f.write)
	}
	err := group.Wait()
	for _, f := range files {
		if err == nil {
			err = os.Rename(f.temp, f.path)
		}
		if err != nil {
			os.Remove(f.temp) // which may never have been
		}
	}
	return err
}

func (f *newFile) write() error {
	file, err := os.OpenFile(f.temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(f.data)
	if err == nil {
		err = file.Chmod(f.mode) // not through open's mode: the umask must not decide
	}
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("write %s: %w", f.path, err)
	}
	return nil
}

// syncTogether runs syncs side by side.
func syncTogether(syncs ...func() error) error {
	var group errgroup.Group
	for _, s := range syncs {
		group.Go(s)
	}
	return group.Wait()
}

// syncDirs makes the names in directories durable.
func syncDirs(dirs ...string) error {
	var group errgroup.Group
	for _, dir := range dirs {
		group.Go(func() error { return syncDir(dir) })
	}
	return group.Wait()
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

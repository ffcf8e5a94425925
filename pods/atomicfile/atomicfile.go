// Package atomicfile writes a file so that a reader sees all of it or none of it: temporary file, then rename.
//
// It knows nothing of what it writes. It never leaves a partial file under the final name; a crash may leave a
// ".tmp-*" file beside it, which the owner of the directory sweeps with the directory.
package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// Prefix starts the name of every temporary file that this package makes.
const Prefix = ".tmp-"

// Write puts data into path with exactly mode, replacing what was there. With sync, file and directory are on
// disk when it returns nil (a promise to the user); without, a power cut may lose the file but never tear it,
// as long as the file system orders rename after data (ext4, xfs and btrfs do on replace).
func Write(path string, mode fs.FileMode, data []byte, sync bool) error {
	root, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer root.Close()
	return WriteIn(root, filepath.Base(path), mode, data, sync)
}

// WriteIn is Write for a name below an open directory, so that a renamed or swapped parent cannot redirect it.
func WriteIn(root *os.Root, name string, mode fs.FileMode, data []byte, sync bool) (err error) {
	temp := filepath.Join(filepath.Dir(name), Prefix+strconv.FormatUint(rand.Uint64(), 36))
	f, err := root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, root.Remove(temp))
		}
	}()
	if err := fill(f, mode, data, sync); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := root.Rename(temp, name); err != nil {
		return err
	}
	if sync {
		return syncDir(root, filepath.Dir(name))
	}
	return nil
}

// Reserve takes size bytes of the disk for name, so that WriteReserved succeeds on a full one. Until then there is no file of that name.
func Reserve(root *os.Root, name string, size int) (err error) {
	f, err := root.OpenFile(reserved(name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if unix.Fallocate(int(f.Fd()), 0, 0, int64(size)) != nil { // not every file system can
		_, err = f.Write(make([]byte, size))
	}
	return errors.Join(err, f.Close())
}

// WriteReserved is WriteIn without sync, into what was reserved for name. Without, it is WriteIn.
func WriteReserved(root *os.Root, name string, mode fs.FileMode, data []byte) error {
	f, err := root.OpenFile(reserved(name), os.O_WRONLY, 0)
	if err != nil {
		return WriteIn(root, name, mode, data, false)
	}
	err = f.Truncate(int64(len(data))) // the rest of its last block stays ours
	if err := errors.Join(err, fill(f, mode, data, false)); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return root.Rename(reserved(name), name)
}

func reserved(name string) string {
	return filepath.Join(filepath.Dir(name), Prefix+filepath.Base(name))
}

func fill(f *os.File, mode fs.FileMode, data []byte, sync bool) error {
	_, err := f.Write(data)
	if err == nil {
		err = f.Chmod(mode) // not through open's mode: the umask must not decide
	}
	if err == nil && sync {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func syncDir(root *os.Root, name string) error {
	d, err := root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

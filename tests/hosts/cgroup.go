package hosts

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// makeCgroups makes the host's cgroup in every hierarchy of this machine.
func makeCgroups(name string) error {
	dirs, err := filepath.Glob("/sys/fs/cgroup/*/cgroup.procs")
	if err != nil || len(dirs) == 0 {
		return fmt.Errorf("make cgroups of the host: this machine has no v1 or hybrid hierarchies: %w", errors.Join(err, fs.ErrNotExist))
	}
	for _, d := range dirs {
		parent := filepath.Dir(d)
		dir := filepath.Join(parent, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		for _, f := range []string{"cpuset.cpus", "cpuset.mems"} { // they start empty, and an empty one takes no process
			if data, err := os.ReadFile(filepath.Join(parent, f)); err == nil {
				if err := os.WriteFile(filepath.Join(dir, f), data, 0); err != nil {
					return err
				}
			}
		}
		// Limits must hold for what is below: a v1 memory cgroup that did not inherit this has to be told.
		_ = os.WriteFile(filepath.Join(dir, "memory.use_hierarchy"), []byte("1"), 0)
		_ = os.WriteFile(filepath.Join(dir, "cgroup.clone_children"), []byte("1"), 0) // of cpuset
	}
	return nil
}

// removeCgroups removes them and all below. The kernel lets go of a dead process's cgroup a little after its end.
func removeCgroups(name string) error {
	dirs, err := filepath.Glob("/sys/fs/cgroup/*/" + name)
	if err != nil {
		return err
	}
	var errs []error
	for _, d := range dirs {
		err := removeTree(d)
		for deadline := time.Now().Add(time.Minute); errors.Is(err, unix.EBUSY) && time.Now().Before(deadline); {
			time.Sleep(5 * time.Millisecond)
			err = removeTree(d)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeTree(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
		return &os.PathError{Op: "rmdir", Path: dir, Err: err}
	}
	return nil
}

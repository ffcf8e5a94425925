package hosts

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/gantryrun/gantry/tests/box"
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

// removeCgroups removes them and all below.
func removeCgroups(name string) error {
	dirs, err := filepath.Glob("/sys/fs/cgroup/*/" + name)
	if err != nil {
		return err
	}
	var errs []error
	for _, d := range dirs {
		errs = append(errs, box.RemoveCgroup(d))
	}
	return errors.Join(errs...)
}

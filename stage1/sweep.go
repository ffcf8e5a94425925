package stage1

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/gantryrun/gantry/pods"
)

// Sweep undoes, from the pod directory alone, what a supervisor that died has left: processes, attachments, cgroups, the run directory.
// It is idempotent. The caller holds the pod's gc lock, and the supervisor is dead.
func Sweep(ctx context.Context, dir *os.File, path string) error {
	pod, err := pods.OpenFile(dir, filepath.Base(path))
	if err != nil {
		return err
	}
	defer pod.Close()
	run, err := pod.Run()
	if errors.Is(err, fs.ErrNotExist) {
		return nil // nothing was ever made
	}
	if err != nil {
		return err
	}
	if run.BootID == pods.BootID() {
		// Between opening and killing, nothing but the pod can enter these cgroups: their names hold its UUID, and the
		// supervisor's own was emptied by its death.
		if err := killCgroups(run.Cgroups, ""); err != nil {
			return err
		}
	}
	return errors.Join(
		detachAll(ctx, pod),
		removeCgroups(run.Cgroups),
		os.RemoveAll(filepath.Join(runRoot, pod.UUID)),
	)
}

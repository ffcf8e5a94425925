package stage1

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods"
)

// Sweep undoes, from the pod directory alone, what a supervisor that died has left: processes, attachments, cgroups, the run directory.
// It is idempotent. The caller holds the pod's gc lock, and the supervisor is dead. skip are types of plugins without whose DEL it succeeds too.
func Sweep(ctx context.Context, dir *os.File, path string, skip ...string) error {
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
		// A power cut, or somebody's editor: nothing of it can be believed. The names of the pod's cgroups hold its UUID.
		if run, err = lostRun(pod.UUID); err != nil {
			return err
		}
	}
	own, units := splitCgroups(run.Cgroups, pod.UUID)
	if run.BootID == pods.BootID() {
		// Nothing but the pod can enter these cgroups: their names hold its UUID.
		if err := killCgroups(own, "", killPatience); err != nil {
			return err
		}
	}
	for _, dir := range units {
		_ = unix.Rmdir(dir) // in use, or systemd removes it with the unit
	}
	unregister(pod, run)
	return errors.Join(
		detachAll(ctx, pod, skip),
		removeCgroups(own),
		removeUsers(pod.UUID, run.Users),
		os.RemoveAll(filepath.Join(runRoot, pod.UUID)),
	)
}

// Kill kills what is left of a pod whose apps are in the host's PID namespace: its reaper, when the supervisor is dead. All else is
// gc's.
func Kill(dir *os.File, path string) error {
	pod, err := pods.OpenFile(dir, filepath.Base(path))
	if err != nil {
		return err
	}
	defer pod.Close()
	run, err := pod.Run()
	if err != nil {
		return err
	}
	own, _ := splitCgroups(run.Cgroups, pod.UUID)
	return killCgroups(own, "", killPatience)
}

// splitCgroups tells the pod's cgroups from those of its unit. The unit may have been started again: then another pod's supervisor
// is in them, perhaps the one that sweeps, and is not to be killed.
func splitCgroups(dirs []string, uuid string) (own, units []string) {
	for _, dir := range dirs {
		if filepath.Base(dir) == cgroupName(uuid) {
			own = append(own, dir)
		} else {
			units = append(units, dir)
		}
	}
	return own, units
}

// lostRun is what run.json of the pod would say, found by looking at every cgroup of the machine.
func lostRun(uuid string) (*pods.Run, error) {
	run := &pods.Run{BootID: pods.BootID()}
	err := filepath.WalkDir(cgroupRoot, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // another pod's, on its way out
		}
		if err != nil || !e.IsDir() || e.Name() != cgroupName(uuid) {
			return err
		}
		run.Cgroups = append(run.Cgroups, path)
		return fs.SkipDir
	})
	return run, err
}

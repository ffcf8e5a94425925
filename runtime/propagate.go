package runtime

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods"
)

// hostTree is a copy of the host's own mount of a volume, and of those below: made in the host's mount namespace, it is one with it, and
// stays so where it is put.
type hostTree struct {
	volume pods.Volume
	fd     int
}

// openTrees copies the mounts of volumes. To be called in the host's mount namespace.
func openTrees(volumes []pods.Volume) ([]hostTree, error) {
	var out []hostTree
	for _, v := range volumes {
		fd, err := unix.OpenTree(unix.AT_FDCWD, v.Source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
		if err != nil {
			return nil, fmt.Errorf("volume %s: open tree of %s: %w", v.Name, v.Source, err)
		}
		out = append(out, hostTree{v, fd})
	}
	return out, nil
}

// putTrees puts the trees into the pod's directory, as this mount namespace sees it.
func putTrees(trees []hostTree, podPath string) error {
	for _, t := range trees {
		dir := filepath.Join(podPath, pods.VolumePath(t.volume.Name))
		err := unix.MoveMount(t.fd, "", unix.AT_FDCWD, dir, unix.MOVE_MOUNT_F_EMPTY_PATH)
		if err = errors.Join(err, unix.Close(t.fd)); err != nil {
			return fmt.Errorf("mount volume %s: %w", t.volume.Name, err)
		}
		shared, err := isShared(dir)
		if err != nil {
			return err
		}
		if !shared {
			return fmt.Errorf("volume %s: what is mounted below %s is seen by nobody else, because its mount is private: mount --make-shared it, or ask for propagation=slave",
				t.volume.Name, t.volume.Source)
		}
	}
	return nil
}

// isShared reports whether what is mounted at dir propagates.
func isShared(dir string) (bool, error) {
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return false, err
	}
	f, err := os.Open("/proc/thread-self/mountinfo")
	if err != nil {
		return false, err
	}
	defer f.Close()
	shared := false
	s := bufio.NewScanner(f)
	for s.Scan() {
		front, _, _ := strings.Cut(s.Text(), " - ")
		fields := strings.Fields(front)
		if len(fields) > 5 && fields[4] == real { // UUIDs and names need no escapes, but what is above the pod's directory may
			shared = strings.Contains(front, " shared:")
		}
	}
	return shared, s.Err()
}

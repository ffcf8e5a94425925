package runtime

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods"
	"github.com/gantryrun/gantry/runtime/bundle"
)

// checkSource makes sure that a host volume is there: the app's data would otherwise end in a directory that nobody meant.
func checkSource(v bundle.Volume) error {
	if v.Kind != bundle.KindHost {
		return nil
	}
	if _, err := os.Stat(v.Source); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("volume %q: source %q does not exist: make it first", v.Name, v.Source)
		}
		return fmt.Errorf("volume %q: %w", v.Name, err)
	}
	return nil
}

// makeVolumes makes the directories of the empty volumes among volumes. One that covers a directory of the image begins as that
// directory is, so that a database finds it as its image made it.
func makeVolumes(draft *pods.Draft, volumes []bundle.Volume, image imageRoot) error {
	for _, v := range volumes {
		if v.Propagation == pods.PropagationShared {
			if err := draft.Root().MkdirAll(bundle.VolumeDir(v.Name), 0o700); err != nil {
				return err
			}
		}
		if v.Kind != bundle.KindEmpty {
			continue
		}
		if err := makeVolume(draft.Root(), v, image); err != nil {
			return fmt.Errorf("make volume %s: %w", v.Name, err)
		}
	}
	return nil
}

func makeVolume(pod *os.Root, v bundle.Volume, image imageRoot) error {
	dir := bundle.VolumeDir(v.Name)
	if err := pod.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	mode := fs.FileMode(v.Mode & 0o777)
	switch {
	case v.Mode == 0:
		mode = 0o755
	case v.Mode&unix.S_ISVTX != 0:
		mode |= fs.ModeSticky
	}
	// Not by mkdir: the umask must not decide.
	if err := errors.Join(pod.Chown(dir, int(v.UID), int(v.GID)), pod.Chmod(dir, mode)); err != nil || v.From == "" {
		return err
	}
	root, err := pod.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return image.copyUp(v.From, root)
}

// findDevices looks up what the host's device files are.
func findDevices(devices []bundle.Device) ([]bundle.Device, error) {
	found := make([]bundle.Device, len(devices))
	for i, d := range devices {
		var st unix.Stat_t
		if err := unix.Stat(d.Source, &st); err != nil {
			return nil, fmt.Errorf("device %s: %w", d.Source, err)
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFCHR:
			d.Type = "c"
		case unix.S_IFBLK:
			d.Type = "b"
		default:
			return nil, fmt.Errorf("device %s is no device file", d.Source)
		}
		d.Major, d.Minor = int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
		d.Mode, d.UID, d.GID = fs.FileMode(st.Mode&0o777), st.Uid, st.Gid
		found[i] = d
	}
	return found, nil
}

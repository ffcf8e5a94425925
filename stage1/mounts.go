package stage1

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods"
)

// mountRootfs puts an overlay over the app's image on apps/<app>/rootfs, in the supervisor's own mount namespace:
// it goes with the last process of the pod and needs no undo.
//
// The overlay is "volatile": without, its unmount at the end of every pod would sync the host's whole file system.
// What fsync would promise inside a root file system that is thrown away with the pod is a volume's to promise.
func (s *supervisor) mountRootfs(app *pods.App) error {
	if app.Rootfs.Copied {
		copied := filepath.Join(s.opts.Path, pods.AppPath(app.Name, "rootfs"))
		return s.bind(copied, s.rootfs(app), unix.MOUNT_ATTR_NODEV)
	}
	dir := filepath.Join(s.opts.Path, pods.AppPath(app.Name, ""))
	mode, err := rootMode(app.Rootfs.Lower[0])
	if err != nil {
		return err
	}
	for _, d := range []struct {
		name string
		mode fs.FileMode
	}{{"upper", mode}, {"work", 0o700}, {"rootfs", 0o755}} {
		if err := makeDir(filepath.Join(dir, d.name), d.mode); err != nil {
			return err
		}
	}
	if s.users != nil {
		return s.mountMapped(app, dir)
	}
	return mountOverlay(app.Rootfs.Lower, dir, s.rootfs(app))
}

// rootfs is where the app's root file system is mounted.
func (s *supervisor) rootfs(app *pods.App) string {
	if s.users != nil {
		return filepath.Join(rootDir(s.pod.UUID), app.Name)
	}
	return filepath.Join(s.opts.Path, pods.AppPath(app.Name, "rootfs"))
}

// rootMode is the mode of the image's own root: the overlay's upper directory decides what the app sees as /.
func rootMode(lower string) (fs.FileMode, error) {
	info, err := os.Stat(lower)
	if err != nil {
		return 0, fmt.Errorf("image is not mounted: %w", err)
	}
	return info.Mode() &^ fs.ModeType, nil
}

// makeDir makes a directory with exactly mode, whatever the umask is; one that is there is kept.
func makeDir(path string, mode fs.FileMode) error {
	if err := os.Mkdir(path, 0o700); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return nil
		}
		return err
	}
	return os.Chmod(path, mode)
}

// mountOverlay mounts on target an overlay of lower with the upper and work directories of dir.
func mountOverlay(lower []string, dir, target string) error {
	fsfd, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return fmt.Errorf("this kernel has no overlayfs: %w", err)
	}
	defer unix.Close(fsfd)
	if err := setLower(fsfd, lower); err != nil {
		return explain(fsfd, err)
	}
	for _, o := range [][2]string{{"source", "overlay"}, {"upperdir", escaped(filepath.Join(dir, "upper"))}, {"workdir", escaped(filepath.Join(dir, "work"))}} {
		if err := unix.FsconfigSetString(fsfd, o[0], o[1]); err != nil {
			return unfit(dir, explain(fsfd, err))
		}
	}
	if err := unix.FsconfigSetFlag(fsfd, "volatile"); err != nil {
		return explain(fsfd, err)
	}
	if err := unix.FsconfigCreate(fsfd); err != nil {
		return unfit(dir, explain(fsfd, err))
	}
	mnt, err := unix.Fsmount(fsfd, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NODEV)
	if err != nil {
		return explain(fsfd, err)
	}
	defer unix.Close(mnt)
	return unix.MoveMount(mnt, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH)
}

// unfit puts into words what the kernel has against an upper directory that lies on an overlay itself; else err is as it was.
func unfit(dir string, err error) error {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) == nil && st.Type == unix.OVERLAYFS_SUPER_MAGIC {
		return errors.New("the data directory lies on overlayfs, which cannot hold the changes of pods: choose a --dir on a disk's file system, or on tmpfs")
	}
	return err
}

// setLower names the lower directories one by one (kernel 6.8), else all in one option, which the kernel bounds at 4 KB
// and in which it reads ':' and '\'. One alone goes there too: kernels before 6.5 take "lowerdir+" without a word, and refuse
// the mount for it in the end.
func setLower(fsfd int, lower []string) error {
	if len(lower) == 1 {
		return unix.FsconfigSetString(fsfd, "lowerdir", joinLower(lower))
	}
	for i, l := range lower {
		err := unix.FsconfigSetString(fsfd, "lowerdir+", l)
		if err != nil && i == 0 && errors.Is(err, unix.EINVAL) {
			return unix.FsconfigSetString(fsfd, "lowerdir", joinLower(lower))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func joinLower(lower []string) string {
	var out []string
	for _, l := range lower {
		out = append(out, escaped(l))
	}
	return strings.Join(out, ":")
}

// escaped is a path as overlayfs reads those of "lowerdir", "upperdir" and "workdir", but not of "lowerdir+".
func escaped(path string) string {
	return strings.NewReplacer(`:`, `\:`, `\`, `\\`).Replace(path)
}

// explain adds what the kernel says on the descriptor of a file system context.
func explain(fsfd int, err error) error {
	buf := make([]byte, 512)
	n, readErr := unix.Read(fsfd, buf)
	if readErr != nil || n < 3 {
		return err
	}
	return fmt.Errorf("%w (kernel: %s)", err, strconv.QuoteToGraphic(string(buf[2:n]))) // "e " or "w " first
}

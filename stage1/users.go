package stage1

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods"
)

// A pod with a user namespace has users of the host that no other pod has, of whatever data directory: a link per range in
// usersDir, named by its first user, leads to the pod. Who chooses a range has the directory locked, and has run.json name the range before
// it makes the link.
const usersDir = "/run/gantry/users"

// The ranges lie above those that distributions give to users and containers (/etc/subuid, systemd), below 2^31, where some programs
// take a number for negative.
const (
	firstRange = 1 << 30
	rangeCount = 1<<14 - 1
)

// announceRun writes run.json. With it a pod that wants a user namespace has its users.
func (s *supervisor) announceRun(run *pods.Run) error {
	if s.manifest.Users != pods.UsersPrivate {
		return s.pod.WriteRun(run)
	}
	dir, err := lockUsers()
	if err != nil {
		return err
	}
	defer dir.Close()
	if run.Users, err = freeUsers(s.pod.UUID); err != nil {
		return err
	}
	run.RootDir = rootDir(s.pod.UUID)
	if err := s.pod.WriteRun(run); err != nil {
		return err
	}
	s.users = run.Users
	if err := os.Symlink(s.opts.Path, usersPath(s.users)); err != nil {
		return err
	}
	s.undo.push("users", func(context.Context) error {
		for a := range s.apps {
			_ = unix.Unmount(s.rootfs(a.App), unix.MNT_DETACH) // it may not have been mounted; if it is left, so is the directory
		}
		return removeUsers(s.pod.UUID, s.users)
	})
	if err := os.Mkdir(run.RootDir, 0o711); err != nil {
		return err
	}
	return os.Chmod(run.RootDir, 0o711) // whatever the umask is
}

// lockUsers returns when nobody else chooses a range, until the result is closed.
func lockUsers() (*os.File, error) {
	if err := os.MkdirAll(usersDir, 0o700); err != nil {
		return nil, err
	}
	dir, err := os.Open(usersDir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", usersDir, err), dir.Close())
	}
	return dir, nil
}

// freeUsers finds a range that no pod has. It begins at a place that depends on the pod, so that it is mostly the first.
func freeUsers(uuid string) (*pods.UserRange, error) {
	start, err := strconv.ParseUint(uuid[:8], 16, 32)
	if err != nil {
		return nil, fmt.Errorf("choose users of pod %s: %w", uuid, err)
	}
	for i := range uint64(rangeCount) {
		r := &pods.UserRange{Base: firstRange + uint32((start+i)%rangeCount)*pods.PrivateUsers, Size: pods.PrivateUsers}
		owner, err := os.Readlink(usersPath(r))
		if errors.Is(err, fs.ErrNotExist) {
			return r, nil
		}
		if err != nil {
			return nil, err
		}
		if _, err := os.Lstat(owner); !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		// Deleted by hand, or on a disk that is not mounted here: then its processes may live, and their cgroups tell.
		if run, err := lostRun(filepath.Base(owner)); err != nil {
			return nil, err
		} else if len(run.Cgroups) == 0 {
			return r, os.Remove(usersPath(r))
		}
	}
	return nil, fmt.Errorf("no users are left for another pod: %s has %d ranges: run gantry gc", usersDir, rangeCount)
}

// removeUsers gives back what run.json says that the pod uuid has; nil is nothing. It is idempotent, and leaves alone what is another
// pod's by now.
func removeUsers(uuid string, r *pods.UserRange) error {
	if r == nil {
		return nil
	}
	if owner, err := os.Readlink(usersPath(r)); err == nil && filepath.Base(owner) == uuid {
		if err := os.Remove(usersPath(r)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return pods.RemoveTree(rootDir(uuid))
}

func usersPath(r *pods.UserRange) string {
	return filepath.Join(usersDir, strconv.FormatUint(uint64(r.Base), 10))
}

// rootDir is where the root file systems of a pod with a user namespace are mounted, in the supervisor's mount namespace. Not in the
// pod's directory: root of the pod must be able to search every directory above, and the pod's are closed to all but the host's root.
func rootDir(uuid string) string { return "/run/gantry-" + uuid }

// mapUsers has a new process made with users as its 0 and following, and with what it takes to become that 0 after it was executed.
// Not before: the program may lie where only the host's root gets.
func mapUsers(sys *syscall.SysProcAttr, users *pods.UserRange) {
	mapping := []syscall.SysProcIDMap{{ContainerID: 0, HostID: int(users.Base), Size: int(users.Size)}}
	sys.UidMappings, sys.GidMappings, sys.GidMappingsEnableSetgroups = mapping, mapping, true
	sys.AmbientCaps = []uintptr{unix.CAP_SETUID, unix.CAP_SETGID, unix.CAP_SETPCAP, unix.CAP_SYS_ADMIN}
}

// mountMapped mounts the app's root file system so that the users of the image are those of the pod. Nothing is copied or chowned but
// the root of the upper directory: the image is mounted once more, id-mapped, below the overlay. (An id-mapped upper directory
// would make the overlay read-only.)
func (s *supervisor) mountMapped(app *pods.App, dir string) error {
	if err := os.Chown(filepath.Join(dir, "upper"), int(s.users.Base), int(s.users.Base)); err != nil {
		return err
	}
	mode, err := rootMode(app.Rootfs.Lower[0])
	if err != nil {
		return err
	}
	if err := os.Chmod(filepath.Join(dir, "upper"), mode); err != nil { // chown took special bits away
		return err
	}
	mounts := s.lowerDir(app)
	if err := makeDir(mounts, 0o700); err != nil {
		return err
	}
	lower := make([]string, len(app.Rootfs.Lower))
	for i, l := range app.Rootfs.Lower {
		lower[i] = filepath.Join(mounts, strconv.Itoa(i))
		if err := s.bind(l, lower[i], unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NODEV); err != nil {
			return err
		}
	}
	if err := makeDir(s.rootfs(app), 0o755); err != nil {
		return err
	}
	err = mountOverlay(lower, dir, s.rootfs(app))
	for _, l := range lower { // the overlay has its own hold
		err = errors.Join(err, unix.Unmount(l, unix.MNT_DETACH))
	}
	return err
}

// lowerDir is where the image of the app is mounted below its overlay.
func (s *supervisor) lowerDir(app *pods.App) string {
	return filepath.Join(rootDir(s.pod.UUID), ".lower-"+app.Name) // no app's name begins like that
}

// bind mounts from on the directory to, which is made where it is missing; in a pod with a user namespace with its users as those of the
// pod.
func (s *supervisor) bind(from, to string, attrs uint64) error {
	tree, err := unix.OpenTree(unix.AT_FDCWD, from, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return fmt.Errorf("open tree of %s: %w", from, err)
	}
	defer unix.Close(tree)
	attr := unix.MountAttr{Attr_set: attrs}
	if s.users != nil {
		attr.Attr_set |= unix.MOUNT_ATTR_IDMAP
		attr.Userns_fd = uint64(s.reaper.ns["user"].Fd())
	}
	if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		if errors.Is(err, unix.EINVAL) && s.users != nil {
			return fmt.Errorf("--private-users needs id-mapped mounts, which this kernel has not for the file system of %s", from)
		}
		return fmt.Errorf("set attributes of the mount of %s: %w", from, err)
	}
	if err := makeDir(to, 0o755); err != nil {
		return err
	}
	return unix.MoveMount(tree, "", unix.AT_FDCWD, to, unix.MOVE_MOUNT_F_EMPTY_PATH)
}

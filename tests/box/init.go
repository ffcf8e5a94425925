package box

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/moby/sys/mountinfo"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// initBox is the first process of a box: it furnishes the namespaces, starts the test binary again inside, and
// reaps whatever is orphaned until that ends. It returns the exit code of the inside.
func initBox(name string) (int, error) {
	// The cgroup namespace belongs to a thread: everything from here to the fork must stay on this one.
	runtime.LockOSThread()
	hierarchies, err := listHierarchies()
	if err != nil {
		return 0, err
	}
	for _, h := range hierarchies {
		if err := h.join(name); err != nil {
			return 0, err
		}
	}
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		return 0, fmt.Errorf("unshare cgroup namespace: %w", err)
	}
	if err := mounts(hierarchies); err != nil {
		return 0, err
	}
	if err := unix.Sethostname([]byte("box")); err != nil {
		return 0, fmt.Errorf("set host name: %w", err)
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return 0, fmt.Errorf("find loopback: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return 0, fmt.Errorf("set loopback up: %w", err)
	}
	return runInside()
}

// mounts makes the box's /run, /proc and /sys. The root becomes shared, as systemd makes it on real hosts, so
// that a mount which leaks out of a pod's namespace is seen.
func mounts(hierarchies []hierarchy) error {
	steps := []struct {
		source, target, fstype string
		flags                  uintptr
		data                   string
	}{
		{"", "/", "", unix.MS_REC | unix.MS_SHARED, ""},
		{"run", "/run", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=755"},
		{"proc", "/proc", "proc", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
		{"sysfs", "/sys", "sysfs", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
	}
	if err := forgetImages(); err != nil {
		return err
	}
	for _, s := range steps {
		if err := unix.Mount(s.source, s.target, s.fstype, s.flags, s.data); err != nil {
			return fmt.Errorf("mount %s: %w", s.target, err)
		}
	}
	if err := os.Mkdir("/run/lock", 0o1777); err != nil {
		return err
	}
	if len(hierarchies) != 1 || !hierarchies[0].v2 {
		if err := unix.Mount("cgroup", "/sys/fs/cgroup", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
			return fmt.Errorf("mount /sys/fs/cgroup: %w", err)
		}
	}
	for _, h := range hierarchies {
		if err := h.mount(); err != nil {
			return err
		}
	}
	return nil
}

// forgetImages unmounts, in the box's private copy of the mounts, the images that gantry mounted on the machine:
// the box's /run would only hide them, and they would vanish from under a test when the machine's gantry
// removes them.
func forgetImages() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	images, err := mountinfo.GetMounts(mountinfo.PrefixFilter("/run/gantry"))
	if err != nil {
		return err
	}
	for _, m := range images {
		err := unix.Unmount(m.Mountpoint, unix.MNT_DETACH)
		if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EINVAL) { // these: the machine's gantry has removed it meanwhile
			return fmt.Errorf("unmount %s: %w", m.Mountpoint, err)
		}
	}
	return nil
}

// runInside starts the test binary again and reaps until it ends.
func runInside() (int, error) {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return 0, err
	}
	if err := os.Setenv(stageEnv, "inside"); err != nil {
		return 0, err
	}
	child, err := os.StartProcess(filepath.Clean(exe), os.Args, &os.ProcAttr{Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}})
	if err != nil {
		return 0, fmt.Errorf("start the inside: %w", err)
	}
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case err == syscall.EINTR || pid != child.Pid && err == nil:
		case err != nil:
			return 0, fmt.Errorf("wait: %w", err)
		case status.Signaled():
			return 128 + int(status.Signal()), nil
		default:
			return status.ExitStatus(), nil
		}
	}
}

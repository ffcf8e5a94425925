package box

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// hierarchy is one cgroup file system of the machine: a v1 controller set, a named v1 hierarchy, or v2.
type hierarchy struct {
	dir     string // where it is mounted
	v2      bool
	options string // of mount(2), for v1
}

// listHierarchies reads the cgroup mounts of the calling process, each hierarchy once.
func listHierarchies() ([]hierarchy, error) {
	infos, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		return m.FSType != "cgroup" && m.FSType != "cgroup2" || m.Root != "/", false
	})
	if err != nil {
		return nil, fmt.Errorf("list cgroup mounts: %w", err)
	}
	var hs []hierarchy
	seen := map[int]bool{}
	for _, m := range infos {
		if seen[m.Minor] || !strings.HasPrefix(m.Mountpoint, "/sys/fs/cgroup") {
			continue
		}
		seen[m.Minor] = true
		h := hierarchy{dir: m.Mountpoint, v2: m.FSType == "cgroup2"}
		if !h.v2 {
			h.options = v1Options(m.VFSOptions)
		}
		hs = append(hs, h)
	}
	return hs, nil
}

// v1Options picks from a superblock's options those that name the hierarchy.
func v1Options(super string) string {
	opts := strings.Split(super, ",")
	opts = slices.DeleteFunc(opts, func(o string) bool {
		return o == "rw" || o == "ro" || o == "xattr" || o == "clone_children" || strings.HasPrefix(o, "release_agent=")
	})
	if len(opts) == 1 && strings.HasPrefix(opts[0], "name=") {
		opts = append([]string{"none"}, opts...)
	}
	return strings.Join(opts, ",")
}

// makeCgroups makes the box's cgroup in every hierarchy.
func makeCgroups(name string) error {
	hs, err := listHierarchies()
	if err != nil {
		return err
	}
	for _, h := range hs {
		sweep(h.dir, name)
		dir := filepath.Join(h.dir, name)
		if h.v2 {
			enableControllers(h.dir)
		}
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		// A v1 cpuset starts empty, and an empty one takes no process.
		for _, f := range []string{"cpuset.cpus", "cpuset.mems"} {
			if data, err := os.ReadFile(filepath.Join(h.dir, f)); err == nil && !h.v2 {
				if err := os.WriteFile(filepath.Join(dir, f), data, 0); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// boxName names the n-th box of this process. The PID namespace is part of it: the cgroups may be shared with processes of
// another one, of a container for example, and these have PIDs that mean nothing here.
func boxName(n int64) (string, error) {
	var ns unix.Stat_t
	if err := unix.Stat("/proc/self/ns/pid", &ns); err != nil {
		return "", fmt.Errorf("stat PID namespace: %w", err)
	}
	return fmt.Sprintf("gantry-box-%d-%d-%d", ns.Ino, os.Getpid(), n), nil
}

// sweep removes the cgroups of boxes whose test process is dead: one that was killed, or timed out, could not. Those of
// another PID namespace than that of the box called name are left alone: whether their process lives is not to be seen
// here, and an empty cgroup of a box that lives is one that it is just about to use.
func sweep(dir, name string) {
	parts := strings.Split(name, "-")
	mine := strings.Join(parts[:3], "-") // gantry-box-NAMESPACE
	stale, _ := filepath.Glob(filepath.Join(dir, mine+"-*-*"))
	for _, s := range stale {
		pid, err := strconv.Atoi(strings.Split(filepath.Base(s), "-")[3])
		if err != nil {
			continue
		}
		if err := unix.Kill(pid, 0); errors.Is(err, unix.ESRCH) {
			_ = removeTree(s) // busy: its processes are still dying, and the next box tries again
		}
	}
}

// enableControllers hands every controller that dir has to its children. What cannot be handed on (a
// real-time process in the way, a cgroup with processes of its own) is left out: the tests say what they miss.
func enableControllers(dir string) {
	data, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return
	}
	for _, c := range strings.Fields(string(data)) {
		_ = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+c), 0)
	}
}

func (h hierarchy) join(name string) error {
	if err := os.WriteFile(filepath.Join(h.dir, name, "cgroup.procs"), []byte("0"), 0); err != nil {
		return fmt.Errorf("join cgroup: %w", err)
	}
	return nil
}

// mount mounts the hierarchy where it was, as the box's cgroup namespace sees it. Under v2 the box's first
// processes move to a leaf: a cgroup with processes cannot hand controllers to its children.
func (h hierarchy) mount() error {
	fstype := "cgroup"
	if h.v2 {
		fstype = "cgroup2"
	}
	if err := os.MkdirAll(h.dir, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(fstype, h.dir, fstype, unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, h.options); err != nil {
		return fmt.Errorf("mount %s: %w", h.dir, err)
	}
	if !h.v2 || h.dir != "/sys/fs/cgroup" {
		return nil
	}
	leaf := filepath.Join(h.dir, "init")
	if err := os.Mkdir(leaf, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(leaf, "cgroup.procs"), []byte("0"), 0); err != nil {
		return fmt.Errorf("move to leaf cgroup: %w", err)
	}
	enableControllers(h.dir)
	return nil
}

// removeCgroups removes the box's cgroups and all below them.
func removeCgroups(name string) error {
	hs, err := listHierarchies()
	if err != nil {
		return err
	}
	var errs []error
	for _, h := range hs {
		errs = append(errs, RemoveCgroup(filepath.Join(h.dir, name)))
	}
	return errors.Join(errs...)
}

// RemoveCgroup removes a cgroup and all below it; one that is gone is no error. The kernel lets go of a dead process's cgroup a
// little after its end, so a busy one is tried again, for as long as a loaded machine may take.
func RemoveCgroup(dir string) error {
	err := removeTree(dir)
	for deadline := time.Now().Add(time.Minute); errors.Is(err, unix.EBUSY) && time.Now().Before(deadline); {
		time.Sleep(5 * time.Millisecond)
		err = removeTree(dir)
	}
	return err
}

func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
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

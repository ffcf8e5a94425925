package invariant

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// runDir is gantry's part of /run: what must not survive a reboot.
const runDir = "/run/gantry"

// inode names a file as /proc/locks does.
type inode struct{ dev, ino uint64 }

// inodes maps every file below dirs that could be locked (not image content) to its path.
func inodes(dirs []string) (map[inode]string, error) {
	out := map[inode]string{}
	for _, dir := range dirs {
		err := walk(dir, func(path string, d fs.DirEntry) error {
			if d.Name() == "layers" || d.Name() == "rootfs" || d.Name() == "overlay" || d.Name() == "upper" {
				return fs.SkipDir
			}
			var st unix.Stat_t
			if err := unix.Lstat(path, &st); err == nil {
				out[inode{st.Dev, st.Ino}] = path
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// walk visits what is below dir; files that vanish meanwhile, dir included, are no error.
func walk(dir string, visit func(path string, d fs.DirEntry) error) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return visit(path, d)
	})
}

// podDirs lists the pod directories of every data directory, half-made and half-removed ones included.
func podDirs(opts Options) ([]string, error) {
	var out []string
	for _, dir := range opts.Dirs {
		entries, err := os.ReadDir(filepath.Join(dir, "pods"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, e := range entries {
			if e.IsDir() {
				out = append(out, filepath.Join(dir, "pods", e.Name()))
			}
		}
	}
	return out, nil
}

// leases lists the addresses that are taken. Lock files and the allocator's own index may stay.
func leases(Options) ([]string, error) {
	var out []string
	err := walk(filepath.Join(runDir, "leases"), func(path string, d fs.DirEntry) error {
		if _, err := netip.ParseAddr(d.Name()); err == nil && !d.IsDir() {
			out = append(out, path)
		}
		return nil
	})
	return out, err
}

// runFiles lists what else lies in /run/gantry: control sockets and their directories. The mount points of
// images are not listed; that they are mounted is what the mounts show. The few directories and files that the
// first pod makes and every later one uses are no leak, nor is the record of the sysctls that it changed.
func runFiles(Options) ([]string, error) {
	out, err := filepath.Glob(runDir + "-*") // root directories of pods with a user namespace
	if err != nil {
		return nil, err
	}
	shared := []string{"pods", "users", "cni", "cni/results", "cni/former", "dhcp"}
	entries, err := os.ReadDir(runDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		if e.Name() == "images" || e.Name() == "leases" || strings.HasSuffix(e.Name(), "lock") || e.Name() == "host.json" {
			continue
		}
		top := filepath.Join(runDir, e.Name())
		err := walk(top, func(path string, _ fs.DirEntry) error {
			if !slices.Contains(shared, strings.TrimPrefix(path, runDir+"/")) {
				out = append(out, path)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

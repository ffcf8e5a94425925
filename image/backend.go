package image

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Backend is how the tree of an image is kept.
type Backend string

// The backends. The zero value is Auto.
const (
	// Auto is Erofs where the kernel and the store's file system can, else Dir.
	Auto Backend = "auto"
	// Erofs mounts an index over the layers' tars: nothing is unpacked. Linux 6.12.
	Erofs Backend = "erofs"
	// Dir unpacks the merged tree once, as it is first needed.
	Dir Backend = "dir"
)

func (b Backend) valid() bool { return b == "" || b == Auto || b == Erofs || b == Dir }

// Backend says which backend is in use, and for Auto that chose Dir, why.
func (s *Store) Backend() (Backend, string, error) {
	switch s.backend {
	case Erofs, Dir:
		return s.backend, "", nil
	}
	why, err := erofsUnfit(s.dir)
	if err != nil {
		return "", "", fmt.Errorf("choose store backend: %w", err)
	}
	if why != "" {
		return Dir, why, nil
	}
	return Erofs, "", nil
}

// erofsUnfit says why EROFS cannot be used for a store at dir; "" if it seems that it can. It asks three cheap
// questions and mounts nothing: a kernel that was built without file-backed EROFS says so at the mount.
func erofsUnfit(dir string) (string, error) {
	major, minor, err := kernelVersion()
	if err != nil {
		return "", err
	}
	if major < 6 || (major == 6 && minor < 12) {
		return fmt.Sprintf("kernel %d.%d cannot mount EROFS from files (6.12 can)", major, minor), nil
	}
	if ok, err := knowsErofs(); err != nil || !ok {
		return "this kernel has no EROFS", err
	}
	var st unix.Statfs_t
	for {
		err = unix.Statfs(dir, &st)
		if !errors.Is(err, unix.ENOENT) || dir == "/" {
			break
		}
		dir = filepath.Dir(dir)
	}
	if err != nil {
		return "", &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	switch st.Type {
	case unix.TMPFS_MAGIC, unix.OVERLAYFS_SUPER_MAGIC, unix.RAMFS_MAGIC:
		return fmt.Sprintf("%s lies on a file system that cannot back EROFS (tmpfs or overlay)", dir), nil
	}
	return "", nil
}

func kernelVersion() (major, minor int, err error) {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return 0, 0, fmt.Errorf("uname: %w", err)
	}
	release := unix.ByteSliceToString(uts.Release[:])
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil {
		return 0, 0, fmt.Errorf("parse kernel release %q: %w", release, err)
	}
	return major, minor, nil
}

// knowsErofs: built in or loaded, or a module that fsopen(2) will load by itself.
func knowsErofs() (bool, error) {
	list, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		return false, err
	}
	if bytes.Contains(list, []byte("\terofs\n")) {
		return true, nil
	}
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return false, fmt.Errorf("uname: %w", err)
	}
	return exists("/lib/modules/" + unix.ByteSliceToString(uts.Release[:]) + "/kernel/fs/erofs")
}

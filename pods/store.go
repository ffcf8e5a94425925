package pods

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Prefixes of directories below pods/ that are no pods.
const (
	newPrefix   = ".new-"   // not named yet
	trashPrefix = ".trash-" // being deleted
)

// validUUID and CheckName are written out because compiling a regular expression costs every start of every program 70 kB.
func validUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i, c := range []byte(s) {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		if dash != (c == '-') || !dash && !isDigit(c) && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// CheckName says why s cannot name a pod, an app or a volume; nil if it can. A name may stand in a path, a host name
// and a unit's name.
func CheckName(s string) error {
	ok := len(s) > 0 && len(s) <= 63 && !strings.Contains(s, "..") && isNameStart(s[0])
	for _, c := range []byte(s) {
		ok = ok && (isNameStart(c) || c == '.' || c == '_' || c == '-')
	}
	if !ok {
		return fmt.Errorf("name %q: use 1 to 63 of a-z 0-9 . _ - and start with a letter or digit", s)
	}
	return nil
}

// CheckAppName is CheckName for an app, which is also a directory of the pod's cgroups, beside the kernel's own files.
func CheckAppName(s string) error {
	controller, _, isFile := strings.Cut(s, ".")
	if slices.Contains(cgroupNames, s) || isFile && slices.Contains(controllers, controller) {
		return fmt.Errorf("name %q: the kernel has files in cgroups that are called so", s)
	}
	return CheckName(s)
}

// What the kernel's files in a cgroup are called, of either version: some names, and those that begin with a controller's.
var (
	cgroupNames = []string{"tasks", "notify_on_release", "release_agent"}
	controllers = []string{
		"blkio", "cgroup", "cpu", "cpuacct", "cpuset", "devices", "dmem", "freezer", "hugetlb", "io", "irq", "memory", "misc", "net_cls", "net_prio",
		"perf_event", "pids", "rdma",
	}
)

func isNameStart(c byte) bool { return isDigit(c) || c >= 'a' && c <= 'z' }

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// Store is the pods below one --dir.
type Store struct{ dir string }

// In is the pods of the data directory dir. It does no I/O.
func In(dir string) *Store { return &Store{dir: dir} }

// Path is the directory of the pods.
func (s *Store) Path() string { return filepath.Join(s.dir, "pods") }

func (s *Store) namesPath() string { return filepath.Join(s.dir, "names") }

// PodPath is the directory of the pod uuid.
func (s *Store) PodPath(uuid string) string { return filepath.Join(s.Path(), uuid) }

// UUIDs lists every pod there is, in no order, locking nothing.
func (s *Store) UUIDs() ([]string, error) {
	d, err := os.Open(s.Path())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	uuids := names[:0]
	for _, n := range names {
		if validUUID(n) {
			uuids = append(uuids, n)
		}
	}
	return uuids, nil
}

// Open finds a pod by UUID, by its name, or by a prefix of its UUID, in this order. ErrNotFound, ErrAmbiguous. The caller closes it.
func (s *Store) Open(which string) (*Pod, error) {
	if validUUID(which) {
		return open(s.PodPath(which), which)
	}
	if CheckName(which) != nil {
		return nil, fmt.Errorf("%w: %q", ErrNotFound, which)
	}
	if uuid, err := os.Readlink(filepath.Join(s.namesPath(), which)); err == nil && validUUID(uuid) {
		if p, err := open(s.PodPath(uuid), uuid); err == nil {
			return p, nil
		}
	}
	return s.openPrefix(which)
}

func (s *Store) openPrefix(prefix string) (*Pod, error) {
	uuids, err := s.UUIDs()
	if err != nil {
		return nil, err
	}
	var found []string
	for _, u := range uuids {
		if strings.HasPrefix(u, prefix) {
			found = append(found, u)
		}
	}
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("%w: %q", ErrNotFound, prefix)
	case 1:
		return open(s.PodPath(found[0]), found[0])
	}
	return nil, fmt.Errorf("%w: %q fits %d pods", ErrAmbiguous, prefix, len(found))
}

// Remove takes the pod away: it is gone from every list at once, its files follow. The caller holds its gc lock
// and has undone its external effects. A pod removed meanwhile is no error.
func (s *Store) Remove(p *Pod) error {
	s.dropName(p)
	trash := filepath.Join(s.Path(), trashPrefix+p.UUID)
	if err := os.Rename(s.PodPath(p.UUID), trash); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove pod %s: %w", p.UUID, err)
	}
	return RemoveTree(trash)
}

// Sweep deletes what killed processes left below pods/ that is no pod: drafts without a name, half-deleted pods.
func (s *Store) Sweep() error {
	entries, err := os.ReadDir(s.Path())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var errs []error
	for _, e := range entries {
		path := filepath.Join(s.Path(), e.Name())
		switch {
		case strings.HasPrefix(e.Name(), trashPrefix):
			errs = append(errs, RemoveTree(path))
		case strings.HasPrefix(e.Name(), newPrefix):
			errs = append(errs, sweepDraft(path))
		}
	}
	return errors.Join(append(errs, err)...)
}

// sweepDraft removes a draft without a name unless its maker is alive. One without a lock file is removed only
// while it is empty: its maker then fails to make the file and starts over.
func sweepDraft(path string) error {
	f, err := os.OpenFile(filepath.Join(path, lockFile), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		if err := unix.Rmdir(path); err != nil && !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.ENOENT) {
			return err
		}
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if busy, err := held(f); err != nil || busy {
		return err
	}
	return RemoveTree(path)
}

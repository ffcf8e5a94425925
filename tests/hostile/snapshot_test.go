package hostile

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// smallDisk is an ext4 of its own: no attack can fill more, and EROFS can read from it.
func smallDisk(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "disk")
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		err = errors.Join(f.Truncate(3<<30), f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join("/run", "disk")
	for _, args := range [][]string{{"mkfs.ext4", "-q", "-E", "lazy_itable_init=1", file}, {"mkdir", "-m", "700", dir}, {"mount", "-o", "loop,nobarrier", file, dir}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", args[0], err, out)
		}
	}
	return dir
}

// snapshot is what lies in a store: by path, what it is.
type snapshot map[string]string

func (h *host) snapshot(t *testing.T) snapshot {
	t.Helper()
	s := snapshot{}
	err := filepath.WalkDir(h.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel := strings.TrimPrefix(path, h.dir)
		s[rel] = fmt.Sprint(info.Mode())
		if strings.HasPrefix(rel, "/seccomp/") || rel == "/seccomp" || rel == "/pods" || rel == "/names" || strings.HasSuffix(rel, "lock") {
			delete(s, rel) // made by the first pod, for all
			return nil
		}
		if info.Mode().IsRegular() {
			s[rel] += fmt.Sprintf(" %d %x", info.Size(), sum(path))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func sum(path string) [32]byte {
	data, err := os.ReadFile(path)
	if err != nil {
		return [32]byte{}
	}
	return sha256.Sum256(data)
}

// diff says what is in one and not, or otherwise, in the other.
func (s snapshot) diff(now snapshot) string {
	var lines []string
	for _, p := range slices.Sorted(maps.Keys(now)) {
		if s[p] != now[p] {
			lines = append(lines, fmt.Sprintf("%s was %q, is %q", p, s[p], now[p]))
		}
	}
	for _, p := range slices.Sorted(maps.Keys(s)) {
		if _, there := now[p]; !there {
			lines = append(lines, p+" is gone")
		}
	}
	return strings.Join(lines, "; ")
}

// sentinel is what no attack may touch: files made for it, and some of the host's own.
type sentinel struct {
	dir    string
	paths  []string
	before map[string]string
}

func newSentinel(t *testing.T) *sentinel {
	t.Helper()
	s := &sentinel{dir: "/run/sentinel", before: map[string]string{}}
	steps := []error{
		os.MkdirAll(s.dir+"/dir/below", 0o755),
		os.WriteFile(s.dir+"/file", []byte("untouched\n"), 0o644),
		os.WriteFile(s.dir+"/setuid", []byte("untouched\n"), 0o755),
		os.Chmod(s.dir+"/setuid", 0o755|fs.ModeSetuid),
		unix.Mkfifo(s.dir+"/fifo", 0o600),
	}
	if err := errors.Join(steps...); err != nil {
		t.Fatal(err)
	}
	s.paths = []string{s.dir, s.dir + "/dir", s.dir + "/dir/below", s.dir + "/file", s.dir + "/setuid", s.dir + "/fifo",
		"/etc/passwd", "/etc/shadow", "/etc/group", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf", "/proc/sys/kernel/core_pattern", "/bin/busybox"}
	for _, p := range s.paths {
		s.before[p] = state(p)
	}
	return s
}

// changed says what is no longer as it was.
func (s *sentinel) changed() string {
	var lines []string
	for _, p := range s.paths {
		if now := state(p); now != s.before[p] {
			lines = append(lines, fmt.Sprintf("%s was %s, is %s", p, s.before[p], now))
		}
	}
	return strings.Join(lines, "; ")
}

// state of a file: all that a write, chmod, chown or link would change. (Times of files in /proc mean nothing.)
func state(path string) string {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return err.Error()
	}
	text := fmt.Sprintf("%o %d:%d %d links", st.Mode, st.Uid, st.Gid, st.Nlink)
	if !strings.HasPrefix(path, "/proc/") {
		text += fmt.Sprintf(" %d %v %v", st.Size, st.Mtim, st.Ctim)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFREG {
		text += fmt.Sprintf(" %x", sum(path))
	}
	return text
}

// removeAll removes what was unpacked.
func removeAll(dir string) error {
	return os.RemoveAll(dir)
}

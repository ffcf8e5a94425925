package e2e

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/tests/await"
	"github.com/gantryrun/gantry/tests/box"
	"github.com/gantryrun/gantry/tests/build"
	"github.com/gantryrun/gantry/tests/testimages"
)

// The tree that a pod sees is, file by file, what GNU tar and umoci unpack of the same image: type, mode, owner,
// mtime, links, extended attributes, content. Both store backends.
func TestTree(t *testing.T) {
	for _, image := range []string{"minbase", "nginx"} {
		t.Run(image, func(t *testing.T) {
			dir := testimages.Layout(t, image)
			if box.Enter(t, build.Env(build.Dir(t))) {
				testTree(t, dir)
			}
		})
	}
}

func testTree(t *testing.T, dir string) {
	references := map[string]map[string]string{"GNU tar": scan(t, unpackTar(t, dir))}
	if _, err := exec.LookPath("umoci"); err != nil {
		t.Log("not compared with umoci: it is not installed")
	} else {
		bundle := filepath.Join(t.TempDir(), "bundle")
		if out, err := exec.Command("umoci", "unpack", "--image", dir+":1", bundle).CombinedOutput(); err != nil {
			t.Fatalf("umoci: %v\n%s", err, out)
		}
		references["umoci"] = scan(t, filepath.Join(bundle, "rootfs"))
	}
	for _, store := range []string{"erofs", "dir"} {
		h := newHost(t)
		uuid := strings.TrimSpace(h.must(t, "run", "--store="+store, "--net=none", "--dns=none", "--detach",
			"oci:"+dir+":1", "--name=app", "--", "sleep", "300"))
		pod := scan(t, fmt.Sprintf("/proc/%d/root/.", appProcess(t, "sleep")))
		for name, want := range references {
			compare(t, name+" ("+store+")", want, pod)
		}
		h.must(t, "stop", "--force", uuid)
		h.check(t)
	}
}

// appProcess finds the app by its name, in the box.
func appProcess(t *testing.T, name string) int {
	t.Helper()
	var out []byte
	await.Until(t, "a process "+name, func() (found bool) { // it has its name a moment after the exec that makes the app ready
		var err error
		out, err = exec.Command("pgrep", "-x", name).Output()
		return err == nil
	})
	return atoi(t, strings.Fields(string(out))[0])
}

// made are the paths that a runtime mounts over or makes in every pod.
var made = []string{"dev", "proc", "sys", "run", "etc/resolv.conf", "etc/hosts", "etc/hostname", "etc/mtab", "tmp", ".gantry"}

// scan describes every file below root in one line each.
func scan(t *testing.T, root string) map[string]string {
	t.Helper()
	out := map[string]string{}
	first := map[uint64]string{} // inode -> the first of its names
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if slices.Contains(made, name) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		out[name], err = describe(path, name, first)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func describe(path, name string, first map[uint64]string) (string, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return "", fmt.Errorf("stat %s: %w", path, err)
	}
	line := fmt.Sprintf("mode %o owner %d:%d mtime %d", st.Mode, st.Uid, st.Gid, st.Mtim.Sec)
	// No layer has an entry for the root, and in /etc the runtime makes the files that it binds over: these times are
	// not the image's.
	if name == "." || name == "etc" {
		line = fmt.Sprintf("mode %o owner %d:%d", st.Mode, st.Uid, st.Gid)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		sum, err := hash(path)
		if err != nil {
			return "", err
		}
		line += fmt.Sprintf(" size %d sha256 %.12x", st.Size, sum)
		if _, ok := first[st.Ino]; !ok {
			first[st.Ino] = name
		}
		line += fmt.Sprintf(" links %d first %s", st.Nlink, first[st.Ino])
	case unix.S_IFLNK:
		target, err := os.Readlink(path)
		if err != nil {
			return "", err
		}
		line += " to " + target
	case unix.S_IFCHR, unix.S_IFBLK:
		line += fmt.Sprintf(" device %d", st.Rdev)
	}
	attrs, err := xattrs(path)
	return line + attrs, err
}

func hash(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	return h.Sum(nil), err
}

// xattrs lists what a tar can carry and the pod can see; trusted.* is overlay's own.
func xattrs(path string) (string, error) {
	buf := make([]byte, 4096)
	n, err := unix.Llistxattr(path, buf)
	if errors.Is(err, unix.ENOTSUP) || n == 0 {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	var out string
	for name := range bytes.SplitSeq(bytes.TrimRight(buf[:n], "\x00"), []byte{0}) {
		if bytes.HasPrefix(name, []byte("trusted.")) || bytes.HasPrefix(name, []byte("user.rootlesscontainers")) {
			continue
		}
		value := make([]byte, 4096)
		n, err := unix.Lgetxattr(path, string(name), value)
		if err != nil {
			return "", err
		}
		out += fmt.Sprintf(" %s=%x", name, value[:n])
	}
	return out, nil
}

// compare reports at most twenty differences.
func compare(t *testing.T, with string, want, got map[string]string) {
	t.Helper()
	var diffs []string
	for name, line := range want {
		if got[name] != line {
			diffs = append(diffs, fmt.Sprintf("%s\n  %s: %s\n  pod: %s", name, with, line, got[name]))
		}
	}
	for name, line := range got {
		if _, ok := want[name]; !ok {
			diffs = append(diffs, fmt.Sprintf("%s\n  %s has no such file\n  pod: %s", name, with, line))
		}
	}
	slices.Sort(diffs)
	if len(diffs) > 0 {
		t.Errorf("%d of %d files differ from %s's:\n%s", len(diffs), len(want), with, strings.Join(diffs[:min(20, len(diffs))], "\n"))
	}
}

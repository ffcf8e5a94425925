package runtime

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What a volume begins with is what the image has there, and not a simpler version of it.
func TestCopyUp(t *testing.T) {
	image, volume := t.TempDir(), t.TempDir()
	data := filepath.Join(image, "data")
	past := time.Unix(1_000_000_000, 5)
	capability := []byte{0, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0} // CAP_NET_BIND_SERVICE
	for _, step := range []func() error{
		func() error { return os.MkdirAll(filepath.Join(data, "sub"), 0o755) },
		func() error { return os.WriteFile(filepath.Join(data, "file"), []byte("hello"), 0o600) },
		func() error { return os.Chown(filepath.Join(data, "file"), 33, 44) },
		func() error { return os.Chmod(filepath.Join(data, "file"), 0o755|os.ModeSetuid) },
		func() error { return unix.Setxattr(filepath.Join(data, "file"), "security.capability", capability, 0) },
		func() error { return os.Link(filepath.Join(data, "file"), filepath.Join(data, "sub/linked")) },
		func() error { return os.Symlink("/etc/passwd", filepath.Join(data, "link")) },
		func() error { return os.Lchown(filepath.Join(data, "link"), 5, 6) },
		func() error { return unix.Mkfifo(filepath.Join(data, "fifo"), 0o640) },
		func() error { return unix.Mknod(filepath.Join(data, "device"), unix.S_IFCHR|0o666, 0x103) },
		func() error { return os.Chtimes(filepath.Join(data, "file"), past, past) },
		func() error { return os.Chtimes(filepath.Join(data, "fifo"), past, past) },
		func() error { return os.Chtimes(filepath.Join(data, "sub"), past, past) },
		func() error { return os.Chmod(filepath.Join(data, "sub"), 0o770|os.ModeSticky|os.ModeSetgid) },
		func() error { return os.Chown(data, 7, 8) },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	to, err := os.OpenRoot(volume)
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	if err := (imageRoot{[]string{image}}).copyUp("/data", to); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{".", "file", "sub", "sub/linked", "link", "fifo"} {
		want, got := stat(t, filepath.Join(data, name)), stat(t, filepath.Join(volume, name))
		if got.Mode != want.Mode || got.Uid != want.Uid || got.Gid != want.Gid || got.Nlink != want.Nlink {
			t.Errorf("%s is %o, %d:%d, %d links; want %o, %d:%d, %d", name, got.Mode, got.Uid, got.Gid, got.Nlink, want.Mode, want.Uid, want.Gid, want.Nlink)
		}
		if name != "link" && got.Mtim != want.Mtim {
			t.Errorf("%s is of %v, want %v", name, got.Mtim, want.Mtim)
		}
	}
	if a, b := stat(t, filepath.Join(volume, "file")), stat(t, filepath.Join(volume, "sub/linked")); a.Ino != b.Ino {
		t.Error("the two names are two files")
	}
	if text, err := os.ReadFile(filepath.Join(volume, "file")); string(text) != "hello" {
		t.Errorf("the file holds %q (%v)", text, err)
	}
	if target, err := os.Readlink(filepath.Join(volume, "link")); target != "/etc/passwd" {
		t.Errorf("the link leads to %q (%v)", target, err)
	}
	value := make([]byte, 64)
	if n, err := unix.Getxattr(filepath.Join(volume, "file"), "security.capability", value); err != nil || string(value[:n]) != string(capability) {
		t.Errorf("the capability is %v (%v)", value[:max(n, 0)], err)
	}
	if _, err := os.Lstat(filepath.Join(volume, "device")); !os.IsNotExist(err) {
		t.Errorf("a device was copied (%v)", err)
	}
}

func stat(t *testing.T, path string) *syscall.Stat_t {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t)
}

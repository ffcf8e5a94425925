package launch_test

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestHostsNull: an app whose streams are /dev/null has its own, in whatever way it was started; root in it may change the mode of that.
func TestHostsNull(t *testing.T) {
	p := newPod(t)
	path := filepath.Join(t.TempDir(), "null")
	if err := unix.Mknod(path, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil {
		t.Skipf("skipped: no device can be made here: %v", err)
	}
	p.must(os.Chmod(path, 0o666))
	null, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Skipf("skipped: no device works in %s: %v", filepath.Dir(path), err)
	}
	defer null.Close()
	const change = "for i in 0 1 2; do /bin/busybox chmod 600 /proc/self/fd/$i || exit 1; done"
	app := p.app("app", nil, "sh", "-c", change)
	app.Stdin, app.Stdout, app.Stderr = 0, 0, 0
	answer := p.start([]*os.File{null}, app)[0]
	if code := p.wait(answer.PID); answer.Error != "" || code != 0 {
		t.Errorf("got %+v, exit code %d", answer, code)
	}
	p.startEntered(nil, nil, "true")
	enter := p.enter("--", "sh", "-c", change)
	enter.Stdin, enter.Stdout, enter.Stderr = null, null, null
	p.must(enter.Run())
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o666 {
		t.Errorf("the caller's device has mode %v, %v", info.Mode(), err)
	}
}

package stage1_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/tests/await"
	"github.com/gantryrun/gantry/tests/box"
)

// The caller's files are never the app's, whoever it is: neither their owner, nor what is in them, nor what is behind the end of a log.
func TestCallersFilesStayTheCallers(t *testing.T) {
	for _, c := range []struct {
		name string
		uid  uint32
	}{{"root", 0}, {"user", 1000}} {
		t.Run(c.name, func(t *testing.T) {
			if !box.Enter(t) {
				return
			}
			b := newBed(t)
			b.edit = func(s *specs.Spec) { s.Process.User.UID = c.uid }
			in, out := filepath.Join(t.TempDir(), "in"), filepath.Join(t.TempDir(), "out")
			write(t, in, "secret\n")
			write(t, out, "earlier\n")
			b.stdin = openFile(t, in, os.O_RDONLY)
			log := openFile(t, out, os.O_WRONLY|os.O_APPEND)
			const script = "cat; echo pwn 2>/dev/null >/proc/self/fd/0; chmod 666 /proc/self/fd/0 /proc/self/fd/1; : >/proc/self/fd/1; echo two >&2; echo -n three"
			d := b.prepare(sh("app", script))
			if code := wait(b.start(d, log, log)); code != 0 {
				t.Errorf("exit code %d", code)
			}
			for path, want := range map[string]string{in: "secret\n", out: "earlier\nsecret\ntwo\nthree"} {
				data, err := os.ReadFile(path)
				if err != nil || string(data) != want {
					t.Errorf("%s has %q, %v; want %q", path, data, err, want)
				}
				var st unix.Stat_t
				if err := unix.Stat(path, &st); err != nil || st.Uid != 0 || st.Mode&0o777 != 0o600 {
					t.Errorf("%s is of %d, mode %o, %v", path, st.Uid, st.Mode, err)
				}
			}
			if entries, err := os.ReadDir(filepath.Join(d.Path(), "logs")); len(entries) > 0 {
				t.Errorf("the pod has a log: %v, %v", entries, err)
			}
			b.end(d, 0)
		})
	}
}

// All bytes come through, in both directions, though a pipe holds few of them.
func TestCallersFilesLoseNothing(t *testing.T) {
	if !box.Enter(t) {
		return
	}
	b := newBed(t)
	in, out := filepath.Join(t.TempDir(), "in"), filepath.Join(t.TempDir(), "out")
	data := bytes.Repeat([]byte("no line ends here \x00\xff"), 1<<18)
	write(t, in, string(data))
	write(t, out, "")
	b.stdin = openFile(t, in, os.O_RDONLY)
	d := b.prepare(sh("app", "cat"))
	if code := wait(b.start(d, openFile(t, out, os.O_WRONLY), os.Stderr)); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes of %d came through, %v", len(got), len(data), err)
	}
	b.end(d, 0)
}

// What cannot be written is not lost in silence.
func TestCallersFileThatIsFull(t *testing.T) {
	if !box.Enter(t) {
		return
	}
	b := newBed(t)
	d := b.prepare(sh("app", "echo hello"))
	var errs strings.Builder
	if code := wait(b.start(d, openFile(t, "/dev/full", os.O_WRONLY), &errs)); code != 254 {
		t.Errorf("exit code %d", code)
	}
	if want := "no space left on device"; !strings.Contains(errs.String(), want) {
		t.Errorf("stderr is %q, want %q", errs.String(), want)
	}
	b.end(d, 254)
}

// A named FIFO has an owner that an app could become; the pod does not wait for a writer that never ends.
func TestCallersFIFO(t *testing.T) {
	if !box.Enter(t) {
		return
	}
	b := newBed(t)
	b.edit = func(s *specs.Spec) { s.Process.User.UID = 1000 }
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	b.stdin = openFile(t, fifo, os.O_RDWR)
	if _, err := b.stdin.WriteString("hello\n"); err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	d := b.prepare(sh("app", "read x; echo $x >/dev/stdout; readlink /proc/self/fd/1"))
	b.edit = nil
	begin := time.Now()
	if code := wait(b.start(d, w, os.Stderr)); code != 0 || time.Since(begin) > await.Patience {
		t.Errorf("exit code %d after %v", code, time.Since(begin))
	}
	var pipe unix.Stat_t
	if err := unix.Fstat(int(w.Fd()), &pipe); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	if out, _ := io.ReadAll(r); !strings.HasPrefix(string(out), "hello\n") || pipe.Uid != 1000 {
		t.Errorf("output %q; the pipe is of %d, not the app itself", out, pipe.Uid)
	}
	if info, err := os.Stat(fifo); err != nil || info.Sys().(*syscall.Stat_t).Uid != 0 {
		t.Errorf("the FIFO is the app's: %v, %v", info.Sys(), err)
	}
	b.end(d, 0)
}

func write(t *testing.T, path, data string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
}

func openFile(t *testing.T, path string, flags int) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, flags, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// A terminal of the caller's keeps its owner: root's app gets it lent, another one a pipe.
func TestCallersTerminal(t *testing.T) {
	for _, c := range []struct {
		name  string
		uid   uint32
		owner int
		want  string
	}{{"root under sudo", 0, 1000, "terminal\r\n"}, {"user", 1000, 0, "pipe\r\n"}} {
		t.Run(c.name, func(t *testing.T) {
			if !box.Enter(t) {
				return
			}
			b := newBed(t)
			b.edit = func(s *specs.Spec) { s.Process.User.UID = c.uid }
			master := openFile(t, "/dev/ptmx", os.O_RDWR|unix.O_NOCTTY)
			if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
				t.Fatal(err)
			}
			fd, _, errno := syscall.Syscall(syscall.SYS_IOCTL, master.Fd(), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY)
			if errno != 0 {
				t.Fatal(errno)
			}
			tty := os.NewFile(fd, "terminal")
			defer tty.Close()
			if err := tty.Chown(c.owner, -1); err != nil {
				t.Fatal(err)
			}
			b.stdin = tty
			d := b.prepare(sh("app", "if test -t 1; then echo terminal; else echo pipe; fi"))
			if code := wait(b.start(d, tty, tty)); code != 0 {
				t.Errorf("exit code %d", code)
			}
			out := make([]byte, 100)
			n, err := master.Read(out)
			if string(out[:n]) != c.want {
				t.Errorf("output %q, %v; want %q", out[:n], err, c.want)
			}
			if info, err := tty.Stat(); err != nil || int(info.Sys().(*syscall.Stat_t).Uid) != c.owner {
				t.Errorf("the terminal is of %v, %v", info.Sys(), err)
			}
			b.end(d, 0)
		})
	}
}

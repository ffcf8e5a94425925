package stage1_test

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods"
	"github.com/gantryrun/gantry/tests/await"
	"github.com/gantryrun/gantry/tests/box"
)

// ask says one line to the pod's control socket and returns the reply.
func ask(t *testing.T, d *pods.Draft, line string) string {
	t.Helper()
	c, err := net.Dial("unix", filepath.Join("/run/gantry/pods", d.UUID, pods.ControlFile))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(await.Patience))
	if _, err := fmt.Fprintln(c, line); err != nil {
		t.Fatal(err)
	}
	reply, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(reply)
}

func restartLine(app string) string {
	return fmt.Sprintf(`{"version":"v1","verb":"restart","app":%q}`, app)
}

func TestControlRestart(t *testing.T) {
	if !box.Enter(t) {
		return
	}
	b := newBed(t)
	deaf := sh("deaf", "trap '' TERM; echo x >>/n; touch /up; while :; do sleep 0.05; done")
	deaf.StopTimeout = 1
	once := sh("once", "echo x >>/n; exit 0")
	d := b.prepare(deaf, once)
	var out strings.Builder
	cmd := b.start(d, &out, os.Stderr)
	b.await(d, "deaf", "up")
	b.awaitRun(d, "once", 1)
	for _, c := range []struct{ line, want string }{
		{restartLine("deaf"), `{}`}, // after its stop timeout, by SIGKILL
		{restartLine("once"), `{}`}, // it was over
		{restartLine("none"), `{"error":"the pod has no app \"none\""}`},
		{`{"version":"v9","verb":"restart","app":"once"}`, `{"error":"unknown version of a pod file: \"v9\""}`},
		{`{"version":"v1","verb":"dance","app":"once"}`, `{"error":"unknown request \"dance\""}`},
		{`nonsense`, `{"error":"read request: invalid character 'o' in literal null (expecting 'u')"}`},
	} {
		if got := ask(t, d, c.line); got != c.want {
			t.Errorf("%s: %s, want %s", c.line, got, c.want)
		}
	}
	b.awaitRun(d, "once", 2)
	await.Until(t, "the second run of deaf to be deaf", func() bool {
		data, err := os.ReadFile(b.file(d, "deaf", "n"))
		return err == nil && string(data) == "x\nx\n"
	})
	if run, n, err := d.LastRun("deaf"); err != nil || n != 1 || run.Signal != "SIGKILL" || run.Again == nil {
		t.Errorf("record of the restarted app: %+v, %d, %v", run, n, err)
	}
	if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := wait(cmd); code != 137 {
		t.Errorf("exit code %d", code)
	}
	b.end(d, 137)
}

// Who waits for a restart is told that a stop came first.
func TestControlStopFirst(t *testing.T) {
	if !box.Enter(t) {
		return
	}
	b := newBed(t)
	app := sh("app", "trap 'touch /told' TERM; touch /up; while :; do sleep 0.05; done")
	d := b.prepare(app)
	cmd := b.start(d, os.Stdout, os.Stderr)
	b.await(d, "app", "up")
	b.awaitReady(d) // else the supervisor may not have heard of its start
	said := make(chan string)
	go func() { said <- ask(t, d, restartLine("app")) }()
	b.await(d, "app", "told")
	if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if got := <-said; got != `{"error":"the pod is being stopped"}` {
		t.Errorf("reply %s", got)
	}
	if err := cmd.Process.Signal(unix.SIGQUIT); err != nil { // the app ends by nothing less
		t.Fatal(err)
	}
	wait(cmd)
	b.end(d, 137)
}

// Nobody but root gets to the socket.
func TestControlPeer(t *testing.T) {
	if !box.Enter(t) {
		return
	}
	b := newBed(t)
	d := b.prepare(sh("app", "touch /up; exec sleep 1000"))
	cmd := b.start(d, os.Stdout, os.Stderr)
	b.await(d, "app", "up")
	path := filepath.Join("/run/gantry/pods", d.UUID, pods.ControlFile)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode of the socket: %v, %v", info, err)
	}
	// Even who may pass the directories and the socket's mode: the connection is of user 1000.
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	if got := askAs(t, 1000, path); !strings.Contains(got, "user 1000 may not control the pod") {
		t.Errorf("reply %s", got)
	}
	if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	wait(cmd)
	b.end(d, 143)
}

// askAs connects with the effective user uid, and every capability: on a thread of its own.
func askAs(t *testing.T, uid int, path string) string {
	t.Helper()
	said := make(chan string)
	go func() {
		defer close(said)
		runtime.LockOSThread() // never unlocked: the thread ends with its user
		if _, _, e := syscall.RawSyscall(syscall.SYS_PRCTL, unix.PR_SET_KEEPCAPS, 1, 0); e != 0 {
			said <- e.Error()
			return
		}
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			said <- err.Error()
			return
		}
		defer unix.Close(fd)
		if _, _, e := syscall.RawSyscall(syscall.SYS_SETRESUID, ^uintptr(0), uintptr(uid), ^uintptr(0)); e != 0 {
			said <- e.Error()
			return
		}
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		err = unix.Capget(&header, &data[0])
		for i := range data {
			data[i].Effective = data[i].Permitted // the change of user took them away
		}
		if err := errors.Join(err, unix.Capset(&header, &data[0])); err != nil {
			said <- err.Error()
			return
		}
		if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
			said <- "connect: " + err.Error()
			return
		}
		_, _ = unix.Write(fd, []byte(restartLine("app")+"\n"))
		buf := make([]byte, 4096)
		n, err := unix.Read(fd, buf)
		said <- fmt.Sprint(string(buf[:max(n, 0)]), err)
	}()
	return <-said
}

// Who comes while the pod is being dismantled, which takes as long as somebody does not read its output, is told so and not kept.
func TestControlOver(t *testing.T) {
	if !box.Enter(t) {
		return
	}
	b := newBed(t)
	path := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	fifo, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer fifo.Close()
	d := b.prepare(sh("app", "exec head -c 100000 /dev/zero")) // more than the FIFO takes, less than it and a pipe
	cmd := b.start(d, fifo, os.Stderr)
	b.awaitRun(d, "app", 1)
	// Of an app that is not there: asked for one that is, before the launcher is done, the pod would start it again.
	await.Until(t, "the pod to be over", func() bool { return ask(t, d, restartLine("none")) == `{"error":"the pod is over"}` })
	if err := cmd.Process.Signal(unix.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	b.end(d, wait(cmd))
}

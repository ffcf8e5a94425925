package stage1_test

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods"
	"github.com/gantryrun/gantry/tests/await"
	"github.com/gantryrun/gantry/tests/box"
)

// A launcher that hangs holds up a stop for the stop timeout of the app that it starts, and no longer; what runs already is asked to end.
func TestStopWhileLauncherHangs(t *testing.T) {
	for _, level := range []string{"first", "second"} {
		t.Run(level, func(t *testing.T) {
			if !box.Enter(t) {
				return
			}
			b := newBed(t)
			share := b.share()
			app := sh("app", "sleep 60")
			app.StopTimeout = 1
			apps := []*pods.App{app}
			if level == "second" {
				app.After = []string{"server"}
				apps = append(apps, sh("server", "trap 'echo bye >>/share/order; exit 0' TERM; touch /up; while :; do sleep 0.05; done"))
			}
			d := b.prepare(apps...)
			path := filepath.Join(d.Path(), pods.AppPath("app", pods.ConfigFile))
			if err := errors.Join(os.Remove(path), unix.Mkfifo(path, 0o600)); err != nil { // holds the launcher up that reads it
				t.Fatal(err)
			}
			cmd := b.start(d, nil, nil)
			var fifo *os.File
			await.Until(t, "the launcher to read the configuration", func() (got bool) {
				var err error
				fifo, err = os.OpenFile(path, os.O_WRONLY|unix.O_NONBLOCK, 0) // fails as long as nobody has it open
				return err == nil
			})
			defer fifo.Close()
			out, err := exec.Command("pkill", "-STOP", "-x", "-P", strconv.Itoa(cmd.Process.Pid), "gantry-launch").CombinedOutput()
			if err != nil {
				t.Errorf("stop gantry-launch: %v %s", err, out)
			}
			if level == "second" {
				b.await(d, "server", "up")
			}
			for range 3 { // as gantry stop does, which never kills
				if err := cmd.Process.Signal(unix.Signal(pods.StopSignal)); err != nil {
					t.Error(err)
				}
			}
			if code := wait(cmd); code != 137 {
				t.Errorf("exit code %d", code)
			}
			if level == "second" {
				order(t, share, "bye\n")
			}
			if exit := b.end(d, 137); !strings.Contains(exit.Reason, "gantry-launch did not get on in the stop timeout") {
				t.Errorf("reason %q", exit.Reason)
			}
		})
	}
}

// Ctrl-C while an app is being started reaches the whole process group of the terminal. It is an ordered stop like any other: the app is started to
// its end, and asked to stop.
func TestInterruptWhileStarting(t *testing.T) {
	if !box.Enter(t) {
		return
	}
	b := newBed(t)
	d := b.prepare(sh("app", "trap 'exit 7' TERM; while :; do sleep 0.05; done"))
	path := filepath.Join(d.Path(), pods.AppPath("app", pods.ConfigFile))
	config, err := os.ReadFile(path)
	if err == nil {
		err = os.Remove(path)
	}
	if err == nil {
		err = unix.Mkfifo(path, 0o600) // holds the launcher up that reads it
	}
	if err != nil {
		t.Fatal(err)
	}
	var errs strings.Builder
	b.group = true
	cmd := b.start(d, nil, &errs)
	var fifo *os.File
	await.Until(t, "the launcher to read the configuration", func() bool {
		fifo, err = os.OpenFile(path, os.O_WRONLY|unix.O_NONBLOCK, 0) // fails as long as nobody has it open
		return err == nil
	})
	if err := unix.Kill(-cmd.Process.Pid, unix.SIGINT); err != nil {
		t.Error(err)
	}
	if _, err := fifo.Write(config); err != nil {
		t.Error(err)
	}
	if err := fifo.Close(); err != nil {
		t.Error(err)
	}
	if code := wait(cmd); code != 7 && code != 143 { // the second: before it has set its trap
		t.Errorf("exit code %d: %s", code, errs.String())
	} else {
		b.end(d, code)
	}
}

// A terminal whose size changes all the time does not push out a stop, while the supervisor has no time for signals: systemd does not read here.
func TestStopAmongResizings(t *testing.T) {
	if !box.Enter(t) {
		return
	}
	b := newBed(t)
	path := filepath.Join(t.TempDir(), "notify")
	systemd, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer systemd.Close()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for err == nil { // to its last place
		err = unix.Sendto(fd, []byte("full"), unix.MSG_DONTWAIT, &unix.SockaddrUnix{Name: path})
	}
	t.Setenv("NOTIFY_SOCKET", path)
	d := b.prepare(sh("app", "exec sleep 1000"))
	cmd := b.start(d, os.Stdout, os.Stderr)
	b.awaitReady(d)
	for range 100 {
		if err := cmd.Process.Signal(unix.SIGWINCH); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond) // one that comes while the last one is pending is none
	}
	if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	lost := time.AfterFunc(await.Patience, func() {
		t.Error("the stop was not heard")
		_ = cmd.Process.Signal(unix.SIGTERM)
	})
	defer lost.Stop()
	if code := wait(cmd); code != 143 {
		t.Errorf("exit code %d", code)
	}
	b.end(d, 143)
}

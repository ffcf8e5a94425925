package stage1_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods"
	"github.com/gantryrun/gantry/tests/await"
	"github.com/gantryrun/gantry/tests/box"
)

// A FIFO whose reader is stuck does not keep a pod that is told to stop.
func TestStuckReader(t *testing.T) {
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
	d := b.prepare(sh("app", "head -c 500000 /dev/zero; touch /never"))
	var errs strings.Builder
	cmd := b.start(d, fifo, &errs)
	b.awaitReady(d)
	await.Until(t, "the FIFO to be full", func() bool {
		fds := []unix.PollFd{{Fd: int32(fifo.Fd()), Events: unix.POLLOUT}}
		n, err := unix.Poll(fds, 0)
		return n == 0 && err == nil
	})
	for range 2 {
		if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
	}
	begin := time.Now()
	code := wait(cmd)
	if passed := time.Since(begin); passed > await.Patience || code == 0 || !strings.Contains(errs.String(), "output is lost: nobody reads it") {
		t.Errorf("exit code %d after %s: %s", code, passed, errs.String())
	}
	b.end(d, code)
}

// Who asks for a stop again and again does not make a pod wait longer for who does not read.
func TestStuckReaderAskedAgain(t *testing.T) {
	if !box.Enter(t) {
		return
	}
	b := newBed(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	app := sh("app", "touch /up; yes")
	app.StopTimeout = 1
	d := b.prepare(app, sh("other", "exec sleep 1000"))
	var errs strings.Builder
	cmd := b.start(d, w, &errs)
	_ = w.Close()
	b.await(d, "app", "up")
	over := make(chan int, 1)
	go func() { over <- wait(cmd) }()
	deadline := time.After(await.Patience)
	for {
		select {
		case code := <-over:
			b.end(d, code)
			return
		case <-deadline:
			_ = cmd.Process.Kill()
			t.Fatalf("it still waits: %s", errs.String())
		case <-time.After(100 * time.Millisecond):
			_ = cmd.Process.Signal(unix.Signal(pods.StopSignal))
		}
	}
}

// Several who ask for a stop, and systemd beside them, do not make it a kill.
func TestStopByMany(t *testing.T) {
	if !box.Enter(t) {
		return
	}
	b := newBed(t)
	app := sh("app", "trap 'sleep 1; exit 9' TERM; touch /up; while :; do sleep 0.05; done")
	app.StopTimeout = 60
	d := b.prepare(app)
	cmd := b.start(d, os.Stdout, os.Stderr)
	b.await(d, "app", "up")
	for _, sig := range []unix.Signal{pods.StopSignal, pods.StopSignal, pods.StopSignal, unix.SIGTERM, pods.StopSignal} {
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond) // signals of one kind are not queued
	}
	if code := wait(cmd); code != 9 {
		t.Errorf("exit code %d", code)
	}
	b.end(d, 9)
}

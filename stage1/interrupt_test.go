package stage1_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods"
	"github.com/gantryrun/gantry/tests/await"
	"github.com/gantryrun/gantry/tests/box"
)

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

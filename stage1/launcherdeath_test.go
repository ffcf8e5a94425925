package stage1_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods"
	"github.com/gantryrun/gantry/tests/await"
	"github.com/gantryrun/gantry/tests/box"
)

// A launcher that dies between an app's first instruction and its word of that leaves no app that nobody knows of, and that is in the way of the
// next start. (Here it is the app itself that kills it, which is sometimes too late: the supervisor is its parent then.)
func TestLauncherDies(t *testing.T) {
	if !box.Enter(t) {
		return
	}
	b := newBed(t)
	share := b.share()
	b.pid = pods.PIDHost
	shared := b.edit
	b.edit = func(s *specs.Spec) {
		shared(s)
		withoutPID(s)
	}
	app := sh("app", "[ ! -e /share/wild ] || ! read name </proc/$PPID/comm || [ $name != gantry-launch ] || kill -9 $PPID; exec sleep 1000")
	app.Restart = "always"
	d := b.prepare(app)
	cmd := b.start(d, os.Stdout, os.Stderr)
	b.awaitReady(d)
	wild := filepath.Join(share, "wild")
	if err := os.WriteFile(wild, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		t.Log(ask(t, d, restartLine("app")))
	}
	if err := os.Remove(wild); err != nil {
		t.Fatal(err)
	}
	await.Until(t, "the app to be started again", func() bool { return ask(t, d, restartLine("app")) == "{}" })
	if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := wait(cmd); code != 143 {
		t.Errorf("exit code %d", code)
	}
	b.end(d, 143)
}

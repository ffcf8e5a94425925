package stage1_test

import (
	"encoding/json"
	"fmt"
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

// count is a script that appends to a file in its own root, which a restart keeps, and goes on when there are n lines.
func count(n int, then string) string {
	return fmt.Sprintf(`echo x >>/n; echo run; [ $(/bin/busybox wc -l </n) -ge %d ] || exit 5; %s`, n, then)
}

// An app that fails is started again, in its pod and on its own changed files, until it is well; the pod does not end.
func TestRestartOnFailure(t *testing.T) {
	if !box.Enter(t) {
		return
	}
	b := newBed(t)
	app := sh("app", count(4, "exit 0"))
	app.Restart = "on-failure"
	d := b.prepare(app, sh("other", "trap 'exit 0' TERM; while :; do sleep 0.05; done"))
	var out strings.Builder
	cmd := b.start(d, &out, os.Stderr)
	b.awaitRun(d, "app", 4)
	if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := wait(cmd); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	if n := strings.Count(out.String(), "app: run\n"); n != 4 {
		t.Errorf("output of %d runs arrived: %q", n, out.String())
	}
	b.checkRuns(d, "app", 4)
	b.end(d, 0)
}

// checkRuns checks the records of n runs of which the last was well, and that the waits between them grew.
func (b *bed) checkRuns(d interface {
	Path() string
}, app string, n int) {
	b.t.Helper()
	var last *pods.AppRun
	for i := range n {
		data, err := os.ReadFile(filepath.Join(d.Path(), pods.AppPath(app, fmt.Sprintf("runs/%d.json", i))))
		r := &pods.AppRun{}
		if err == nil {
			err = json.Unmarshal(data, r)
		}
		if err != nil {
			b.t.Fatal(err)
		}
		if want := 5; i < n-1 && (r.Code != want || r.Again == nil) || i == n-1 && (r.Code != 0 || r.Again != nil) {
			b.t.Errorf("run %d: %+v", i, r)
		}
		if last != nil {
			wait := 100 * time.Millisecond << (i - 1)
			if got := r.Started.Sub(last.Finished); got < wait || got > wait+await.Patience {
				b.t.Errorf("run %d began %s after the one before, want %s", i, got, wait)
			}
		}
		last = r
	}
}

// awaitRun returns when the n-th run of app is recorded.
func (b *bed) awaitRun(d *pods.Draft, app string, n int) {
	b.t.Helper()
	await.Until(b.t, fmt.Sprintf("run %d of app %s to end", n, app), func() bool {
		_, runs, err := d.LastRun(app)
		return err == nil && runs >= n
	})
}

// A policy with a limit gives up, and then the app's failure is the pod's.
func TestRestartLimit(t *testing.T) {
	if !box.Enter(t) {
		return
	}
	b := newBed(t)
	app := sh("app", "exit 3")
	app.Restart = "on-failure:2"
	d := b.prepare(app)
	if code := wait(b.start(d, os.Stdout, os.Stderr)); code != 3 {
		t.Errorf("exit code %d, want 3", code)
	}
	if _, n, err := d.LastRun("app"); n != 3 || err != nil {
		t.Errorf("%d runs, %v; want 3", n, err)
	}
	b.end(d, 3)
}

// A stop beats the policy, while the app runs and while it waits for its next start.
func TestStopBeatsRestart(t *testing.T) {
	for _, c := range []struct {
		name, script string
		runs         int // that are over when the stop comes
		after        int // that are over in the end
	}{
		{"running", "trap 'exit 0' TERM; touch /up; while :; do sleep 0.05; done", 0, 1},
		{"waiting", "touch /up; exit 1", 6, 6}, // three seconds
	} {
		t.Run(c.name, func(t *testing.T) {
			if !box.Enter(t) {
				return
			}
			b := newBed(t)
			app := sh("app", c.script)
			app.Restart = "always"
			d := b.prepare(app)
			cmd := b.start(d, os.Stdout, os.Stderr)
			b.await(d, "app", "up")
			b.awaitRun(d, "app", c.runs)
			if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if code := wait(cmd); code != 0 {
				t.Errorf("exit code %d, want 0", code)
			}
			if _, runs, err := d.LastRun("app"); runs != c.after {
				t.Errorf("%d runs, %v; want %d: the stop waited for a restart", runs, err, c.after)
			}
			b.end(d, 0)
		})
	}
}

// What an app left in the background does not outlive it into its next run.
func TestRestartKillsLeftovers(t *testing.T) {
	if !box.Enter(t) {
		return
	}
	b := newBed(t)
	app := sh("app", "(sleep 77 &); "+count(2, "until /bin/busybox ps -o args | /bin/busybox grep '^sleep 77'; do sleep 0.05; done"))
	app.Restart = "on-failure"
	d := b.prepare(app)
	var out strings.Builder
	if code := wait(b.start(d, &out, os.Stderr)); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if out.String() != "run\nrun\nsleep 77\n" {
		t.Errorf("output %q, want one leftover: this run's own", out.String())
	}
	b.end(d, 0)
}

package stage1_test

import (
	"bufio"
	"os"
	"path/filepath"
	"testing"

	"github.com/gantryrun/gantry/tests/box"
)

// Whoever watched the pod and went away takes nothing with him.
func TestCallerGoesAway(t *testing.T) {
	if !box.Enter(t) {
		return
	}
	b := newBed(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	d := b.prepare(sh("a", "for i in 1 2 3 4 5 6 7 8 9; do echo $i; sleep 0.05; done; exit 3"), sh("b", "sleep 0.2"))
	cmd := b.start(d, w, w)
	_ = w.Close()
	if _, err := bufio.NewReader(r).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	_ = r.Close()
	if code := wait(cmd); code != 3 {
		t.Errorf("exit code %d, want 3", code)
	}
	b.end(d, 3)
}

// Without a run.json that can be read, the pod's processes and cgroups are found by its name.
func TestUndoWithoutRunFile(t *testing.T) {
	if !box.Enter(t) {
		return
	}
	b := newBed(t)
	d := b.prepare(sh("app", "touch /up; sleep 1000"))
	cmd := b.start(d, os.Stdout, os.Stderr)
	b.await(d, "app", "up")
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	wait(cmd)
	if err := os.WriteFile(filepath.Join(d.Path(), "run.json"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	b.undo(d)
	b.remove(d)
}

// A start that fails, however it does, leaves no cgroup to gc.
func TestFailedStartsLeaveNothing(t *testing.T) {
	if !box.Enter(t) {
		return
	}
	b := newBed(t)
	for range 20 {
		app := sh("app", "")
		app.Exec = []string{"/no/such/program"}
		d := b.prepare(app)
		if code := wait(b.start(d, os.Stdout, os.Stderr)); code != 127 {
			t.Errorf("exit code %d, want 127", code)
		}
		b.end(d, 127)
	}
}

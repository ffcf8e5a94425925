package stage1_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods"
	"github.com/gantryrun/gantry/tests/await"
	"github.com/gantryrun/gantry/tests/box"
)

// What an app leaves behind in the background ends with the pod, and its output is not lost.
func TestOrphansEndWithThePod(t *testing.T) {
	if !box.Enter(t) {
		return
	}
	b := newBed(t)
	d := b.prepare(sh("a", "(sleep 1000; echo never) & echo done"), sh("b", "yes | head -c 300000"))
	var out strings.Builder
	start := time.Now()
	if code := wait(b.start(d, &out, os.Stderr)); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if time.Since(start) > await.Patience {
		t.Error("the pod waited for an orphan")
	}
	if n := strings.Count(out.String(), "b: y\n"); n != 150000 {
		t.Errorf("%d lines arrived, want 150000", n)
	}
	b.end(d, 0)
}

// SIGKILL of the supervisor or of the reaper leaves no process; undo does the rest from the directory.
func TestKill(t *testing.T) {
	for _, who := range []string{"supervisor", "reaper"} {
		t.Run(who, func(t *testing.T) {
			if !box.Enter(t) {
				return
			}
			b := newBed(t)
			d := b.prepare(sh("app", "touch /up; sleep 1000"), sh("other", "touch /up; sleep 1000"))
			cmd := b.start(d, os.Stdout, os.Stderr)
			b.await(d, "app", "up")
			b.await(d, "other", "up")
			victim := cmd.Process.Pid
			if who == "reaper" {
				victim = reaperOf(t, victim)
			}
			if err := unix.Kill(victim, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
			wait(cmd)
			if who == "reaper" {
				b.end(d, 137)
				return
			}
			if state, err := d.State(); state != pods.Exited {
				t.Errorf("state %s, %v", state, err)
			}
			for range 2 { // idempotent
				b.undo(d)
			}
			b.remove(d)
		})
	}
}

func (b *bed) undo(d *pods.Draft) {
	b.t.Helper()
	dir, err := os.Open(d.Path())
	if err != nil {
		b.t.Fatal(err)
	}
	defer dir.Close()
	cmd := exec.Command(filepath.Join(b.bin, "gantry-stage1"), "undo", d.Path())
	cmd.ExtraFiles = []*os.File{dir}
	if out, err := cmd.CombinedOutput(); err != nil {
		b.t.Fatalf("undo: %v\n%s", err, out)
	}
}

func reaperOf(t *testing.T, supervisor int) int {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", supervisor, supervisor))
	if err != nil {
		t.Fatal(err)
	}
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", supervisor))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range tasks {
		more, _ := os.ReadFile(f)
		data = append(append(data, ' '), more...)
	}
	for pid := range strings.FieldsSeq(string(data)) {
		if comm, _ := os.ReadFile("/proc/" + pid + "/comm"); strings.TrimSpace(string(comm)) == "gantry-init" {
			var n int
			if _, err := fmt.Sscan(pid, &n); err == nil {
				return n
			}
		}
	}
	t.Fatal("the supervisor has no reaper")
	return 0
}

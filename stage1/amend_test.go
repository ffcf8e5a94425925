package stage1_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/tests/box"
)

// An app that could not be removed to its end is not started, which would end the pod, and takes nothing of the next one's along when it is removed.
func TestHalfRemoved(t *testing.T) {
	if !box.Enter(t) {
		return
	}
	b := newBed(t)
	d := b.prepare(sh("main", "exec sleep 1000"))
	cmd := b.start(d, os.Stdout, os.Stderr)
	b.awaitReady(d)
	say := func(verb, app string) string {
		return ask(t, d, fmt.Sprintf(`{"version":"v1","verb":%q,"app":%q}`, verb, app))
	}
	must := func(verb, app string) {
		t.Helper()
		if got := say(verb, app); got != "{}" {
			t.Fatalf("%s %s: %s", verb, app, got)
		}
	}
	add := func(name, script string) {
		t.Helper()
		a := sh(name, script)
		a.Added, a.Order = true, 1
		b.write(d, a)
		must("add", name)
	}
	add("one", "exit 0")
	must("start", "one")
	b.awaitRun(d, "one", 1)
	inTheWay := filepath.Join("/run/gantry/pods", d.UUID, "notify-one")
	if err := os.MkdirAll(filepath.Join(inTheWay, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if got := say("remove", "one"); !strings.Contains(got, "notify-one") {
		t.Fatalf("remove: %s", got)
	}
	if got := say("start", "one"); !strings.Contains(got, "was not removed to its end") {
		t.Errorf("start: %s", got)
	}
	add("two", "for i in 1 2 3; do echo $i; done; touch /up; exec sleep 1000")
	if err := os.RemoveAll(inTheWay); err != nil {
		t.Fatal(err)
	}
	must("remove", "one")
	must("start", "two")
	b.await(d, "two", "up")
	if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := wait(cmd); code != 143 {
		t.Errorf("exit code %d", code)
	}
	b.end(d, 143)
}

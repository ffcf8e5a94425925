package scripts

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/tests/await"
	"github.com/gantryrun/gantry/tests/invariant"
	"github.com/gantryrun/gantry/tests/ociimage"
)

const patience = await.Patience

// need fails the script unless a command of ours is used as documented.
func need(ts *testscript.TestScript, neg, ok bool, usage string) {
	if neg || !ok {
		ts.Fatalf("usage: %s", usage)
	}
}

// run runs a command and returns its exit code. What it wrote is there for stdout and stderr to match.
func run(ts *testscript.TestScript, args []string) int {
	err := ts.Exec(args[0], args[1:]...)
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	ts.Fatalf("%s: %v", args[0], err)
	return -1
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, len(args) > 1, "exits CODE COMMAND...")
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	if got := run(ts, args[1:]); got != want {
		ts.Fatalf("exit code %d, want %d\n%s%s", got, want, ts.ReadFile("stdout"), ts.ReadFile("stderr"))
	}
}

// refused requires what every refusal owes its user: code 254, nothing on stdout, one line on stderr (and
// perhaps hints) that says what was wrong.
func refused(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, len(args) > 1, "refused REGEXP COMMAND...")
	code := run(ts, args[1:])
	stdout, stderr := ts.ReadFile("stdout"), ts.ReadFile("stderr")
	if code != 254 || stdout != "" {
		ts.Fatalf("exit code %d, stdout %q; want 254 and nothing\n%s", code, stdout, stderr)
	}
	var lines []string
	for line := range strings.Lines(stderr) {
		if !strings.HasPrefix(line, "gantry: hint: ") {
			lines = append(lines, line)
		}
	}
	if len(lines) != 1 || !strings.HasPrefix(lines[0], "gantry: ") {
		ts.Fatalf("stderr is not one line \"gantry: ...\":\n%s", stderr)
	}
	if !regexp.MustCompile("(?i)" + args[0]).MatchString(lines[0]) {
		ts.Fatalf("stderr does not match %q:\n%s", args[0], stderr)
	}
}

func setenv(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, len(args) == 2, "setenv NAME FILE")
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile(args[1])))
}

func waitState(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, len(args) == 2, "wait-state POD STATE")
	deadline := time.Now().Add(patience)
	for {
		code := run(ts, []string{"gantry", "status", args[0]})
		status := ts.ReadFile("stdout")
		if code == 0 && strings.Contains("\n"+status, "\nstate="+args[1]+"\n") {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("pod %s is not %s:\n%s", args[0], args[1], status)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// waitFile waits until a file is there and not empty.
func waitFile(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, len(args) == 1, "wait-file FILE")
	deadline := time.Now().Add(patience)
	for {
		if info, err := os.Stat(ts.MkAbs(args[0])); err == nil && info.Size() > 0 {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("no file %s", args[0])
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// waitLog waits until gantry logs shows a text.
func waitLog(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, len(args) == 2, "wait-log POD TEXT")
	deadline := time.Now().Add(patience)
	for {
		if run(ts, []string{"gantry", "logs", args[0]}) == 0 && strings.Contains(ts.ReadFile("stdout")+ts.ReadFile("stderr"), args[1]) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%q is not in the logs of pod %s:\n%s", args[1], args[0], ts.ReadFile("stdout"))
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// archive makes an OCI archive and an OCI layout of the busybox image.
func archive(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, len(args) == 2, "archive FILE DIR")
	all, err := images()
	ts.Check(err)
	ts.Check(ociimage.WriteArchive(ts.MkAbs(args[0]), all["busybox:1"], "1"))
	ts.Check(ociimage.WriteLayout(ts.MkAbs(args[1]), all["busybox:1"], "1"))
}

// waitReady waits until every app of a pod has been started. run writes its UUID file before the pod is there, so
// that "no such pod" is not the last word.
func waitReady(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, len(args) == 1, "wait-ready POD")
	for deadline := time.Now().Add(patience); run(ts, []string{"gantry", "status", "--wait-ready=60s", args[0]}) != 0; {
		if time.Now().After(deadline) {
			ts.Fatalf("pod %s is not ready:\n%s", args[0], ts.ReadFile("stderr"))
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// disk mounts a small ext4 on DIR: big enough for a data directory, not for an image.
func disk(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, len(args) == 2, "disk DIR MEGABYTES")
	dir, img := ts.MkAbs(args[0]), ts.MkAbs(args[0]+".img")
	ts.Check(os.MkdirAll(dir, 0o755))
	ts.Check(ts.Exec("truncate", "-s", args[1]+"M", img))
	ts.Check(ts.Exec("mke2fs", "-q", "-t", "ext4", "-m", "0", img))
	ts.Check(ts.Exec("mount", "-o", "loop", img, dir))
	ts.Defer(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
}

type leakKey struct{}

// leak is what leakcheck needs: where to look and what was there before.
type leak struct {
	opts   invariant.Options
	before invariant.Snapshot
}

// leakCheck requires that nothing is left but what is made once per host for all pods (invariant.Options).
func leakCheck(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, len(args) == 0, "leakcheck")
	l := ts.Value(leakKey{}).(leak)
	diff, err := invariant.Settle(l.before, l.opts)
	ts.Check(err)
	if len(diff) > 0 {
		ts.Fatalf("left behind:\n%s", strings.Join(diff, "\n"))
	}
}

// scene is what may tell why a script failed.
const scene = `gantry list --full; for pod in $(gantry list --full --no-legend --fields=uuid); do gantry status $pod; gantry logs --tail=5 $pod; done; ps -e -o pid,ppid,stat,args`

// finish is the end of every script that got through: after gc, and without its images, nothing may be left at all.
func finish(env *testscript.Env) {
	t := env.T().(testing.TB)
	if t.Failed() {
		cmd := exec.Command("timeout", "60", "sh", "-c", scene)
		cmd.Env = env.Vars
		out, _ := cmd.CombinedOutput() // of use or not
		t.Logf("where it failed:\n%s", out)
		return
	}
	for _, args := range [][]string{{"gc", "--grace-period=0s", "--expire-prepared=0s"}, {"image", "gc", "--grace-period=0s"}} {
		cmd := exec.Command(filepath.Join(env.WorkDir, ".bin/gantry"), args...)
		cmd.Env = env.Vars
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("at the end: gantry %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	l := env.Values[leakKey{}].(leak)
	l.opts.Standing = false
	diff, err := invariant.Settle(l.before, l.opts)
	if err != nil || len(diff) > 0 {
		t.Errorf("left behind after gc (%v):\n%s", err, strings.Join(diff, "\n"))
	}
}

package e2e

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/gantryrun/gantry/tests/box"
	"github.com/gantryrun/gantry/tests/build"
	"github.com/gantryrun/gantry/tests/invariant"
)

func TestMain(m *testing.M) { os.Exit(box.Main(m)) }

// host is gantry on the box: its programs and one data directory.
type host struct {
	bin, dir string
	opts     invariant.Options
	before   invariant.Snapshot
}

// newHost takes the picture that check compares with. Call it before anything else is started.
func newHost(t *testing.T) *host {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	h := &host{bin: build.Dir(t), dir: dir, opts: invariant.Options{Dirs: []string{dir}}}
	var err error
	if h.before, err = invariant.Take(h.opts); err != nil {
		t.Fatal(err)
	}
	return h
}

// check collects everything and fails the test with what is left.
func (h *host) check(t *testing.T) {
	t.Helper()
	h.must(t, "gc", "--grace-period=0s", "--expire-prepared=0s")
	h.must(t, "image", "gc", "--grace-period=0s")
	invariant.Check(t, h.before, h.opts)
}

func (h *host) command(t *testing.T, args ...string) *exec.Cmd {
	empty := filepath.Join(h.dir, "..", "empty")
	global := []string{"--dir=" + h.dir, "--system-config=" + empty, "--user-config=" + empty}
	if !strings.Contains(strings.Join(args, " "), "--local-config=") {
		global = append(global, "--local-config="+empty)
	}
	return exec.CommandContext(t.Context(), filepath.Join(h.bin, "gantry"), append(global, args...)...)
}

// run runs gantry and returns its exit code and what it wrote.
func (h *host) run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	cmd := h.command(t, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("gantry %s: %v", args[0], err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// must runs gantry, requires exit code 0 and returns stdout.
func (h *host) must(t *testing.T, args ...string) string {
	t.Helper()
	code, stdout, stderr := h.run(t, args...)
	if code != 0 {
		t.Fatalf("gantry %s: exit code %d\n%s%s", strings.Join(args, " "), code, stdout, stderr)
	}
	return stdout
}

var addressOf = regexp.MustCompile(`ip4=([0-9.]+)`)

// field takes the first group of re out of the pod's status.
func (h *host) field(t *testing.T, pod string, re *regexp.Regexp) string {
	t.Helper()
	status := h.must(t, "status", pod)
	m := re.FindStringSubmatch(status)
	if m == nil {
		t.Fatalf("no %v in the status:\n%s", re, status)
	}
	return m[1]
}

// state is the pod's state, "" where there is no such pod.
func (h *host) state(t *testing.T, pod string) string {
	_, out, _ := h.run(t, "status", pod)
	for line := range strings.Lines(out) {
		if s, ok := strings.CutPrefix(strings.TrimSpace(line), "state="); ok {
			return s
		}
	}
	return ""
}

func atoi(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

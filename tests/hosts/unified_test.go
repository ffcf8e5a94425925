package hosts_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gantryrun/gantry/tests/build"
	"github.com/gantryrun/gantry/tests/hosts"
)

// TestUnified runs testdata/unified.sh on a machine with pure cgroup v2. Each line "ok NAME" or "not ok NAME: why" of
// it is a subtest.
func TestUnified(t *testing.T) {
	if os.Getenv("GANTRY_TEST_V2") == "" {
		t.Skip("skipped: this boots a machine of its own, 20 s: make test-v2")
	}
	script, err := os.ReadFile("testdata/unified.sh")
	if err != nil {
		t.Fatal(err)
	}
	out, code, err := runUnified(t, string(script))
	if errors.Is(err, hosts.ErrPanic) { // once is User-mode Linux, twice would be something of ours that does it
		t.Logf("booting another machine: %v", err)
		out, code, err = runUnified(t, string(script))
	}
	if errors.Is(err, hosts.ErrNoUML) && os.Getenv("CI") == "" {
		t.Skipf("skipped: %v", err)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	n := 0
	for line := range strings.Lines(out) {
		result, rest, _ := strings.Cut(strings.TrimSpace(line), "ok ")
		if result != "" && result != "not " {
			continue
		}
		n++
		name, why, _ := strings.Cut(rest, ": ")
		t.Run(name, func(t *testing.T) {
			if result != "" {
				t.Error(why)
			}
		})
	}
	if code != "0" || n == 0 {
		t.Errorf("the script ended with %s after %d tests", code, n)
	}
	if t.Failed() || testing.Verbose() {
		t.Log(out)
	}
}

// runUnified runs a script on a new machine, with the programs that it asks for.
func runUnified(t *testing.T, script string) (out, code string, err error) {
	t.Helper()
	state := t.TempDir()
	if err := os.MkdirAll(filepath.Join(state, "share"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := writeBusybox(filepath.Join(state, "share/busybox.tar")); err != nil {
		t.Fatal(err)
	}
	for program, pkg := range map[string]string{"network/network.test": "./network", "fault/cnifault": "./tests/cnifault"} {
		if err := compile(filepath.Join(state, "share", program), pkg); err != nil {
			t.Fatal(err)
		}
	}
	return hosts.RunUnified(t.Context(), hosts.UnifiedOptions{Bin: build.Dir(t), State: state, Script: script})
}

// compile builds a package's tests, or a program, for a machine that has no go.
func compile(to, pkg string) error {
	args := []string{"build", "-o", to, pkg}
	if strings.HasSuffix(to, ".test") {
		args = []string{"test", "-c", "-o", to, pkg}
	}
	c := exec.Command("go", args...)
	c.Dir, c.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("go %v: %w: %s", args, err, out)
	}
	return nil
}

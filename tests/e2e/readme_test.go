package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/tests/box"
	"github.com/gantryrun/gantry/tests/build"
	"github.com/gantryrun/gantry/tests/invariant"
)

// The README's tour works as it stands: its blocks marked "sh tour" are run in order, by one shell, from the root
// of the work tree, with an empty /var/lib.
func TestReadmeTour(t *testing.T) {
	root, err := build.Root()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "tests/demo/image/demo.oci.tar")); err != nil {
		t.Skip("skipped: the demo's image is not built: run make demo-image")
	}
	if !box.Enter(t, build.Env(build.Dir(t))) {
		return
	}
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	lib := t.TempDir()
	if err := unix.Mount(lib, "/var/lib", "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount("/var/lib", unix.MNT_DETACH)
	opts := invariant.Options{Dirs: []string{"/var/lib/gantry"}}
	before, err := invariant.Take(opts)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-eux", "-c", tour(string(text)))
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("the tour fails: %v\n%s", err, out)
	}
	for _, want := range []string{"answer 1 from host", "the server says: answer", "state=running", "state=exited"} {
		if !bytes.Contains(out, []byte(want)) {
			t.Errorf("the tour does not show %q", want)
		}
	}
	if t.Failed() {
		t.Logf("%s", out)
	}
	invariant.Check(t, before, opts)
}

// tour takes the marked blocks out of a text.
func tour(text string) string {
	var script strings.Builder
	inside := false
	for line := range strings.Lines(text) {
		switch {
		case strings.HasPrefix(line, "```sh tour"):
			inside = true
		case strings.HasPrefix(line, "```"):
			inside = false
		case inside:
			script.WriteString(line)
		}
	}
	return script.String()
}

package layer

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// byUmoci unpacks layers with umoci. An error is umoci's refusal.
func byUmoci(t testing.TB, tars ...[]byte) (listing, error) {
	t.Helper()
	if _, err := exec.LookPath("umoci"); err != nil {
		t.Skip("umoci is not installed: nothing to compare with")
	}
	base := t.TempDir()
	layout := filepath.Join(base, "oci")
	run := func(args ...string) error {
		out, err := exec.Command("umoci", args...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("umoci %s: %w: %s", args[0], err, out)
		}
		return nil
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(run("init", "--layout", layout))
	must(run("new", "--image", layout+":x"))
	for k, b := range tars {
		name := filepath.Join(base, fmt.Sprintf("%d.tar", k))
		must(os.WriteFile(name, b, 0o600))
		must(run("raw", "add-layer", "--image", layout+":x", name))
	}
	root := filepath.Join(base, "rootfs")
	old := unix.Umask(0o022)
	defer unix.Umask(old)
	if err := run("raw", "unpack", "--image", layout+":x", root); err != nil {
		return nil, err
	}
	return listDir(t, root), nil
}

// sameAs compares with what another program made. Directories that no tar describes, or that such a directory was made in, have
// the time of the test there.
func sameAs(t *testing.T, who string, ours, theirs listing) {
	t.Helper()
	a, b := listing{}, listing{}
	for path, s := range ours {
		if o, ok := theirs[path]; ok && s.Mode&unix.S_IFMT == unix.S_IFDIR && time.Since(time.Unix(o.Sec, 0)) < time.Hour {
			s.Sec, s.Nsec = o.Sec, o.Nsec
		}
		a[path] = s
	}
	for path, s := range theirs {
		b[path] = s
	}
	if diff := cmp.Diff(b, a); diff != "" {
		t.Errorf("differs from %s (-%s +gantry):\n%s", who, who, diff)
	}
}

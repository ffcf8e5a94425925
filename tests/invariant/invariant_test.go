package invariant_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/tests/box"
	"github.com/gantryrun/gantry/tests/invariant"
)

func TestMain(m *testing.M) { os.Exit(box.Main(m)) }

func TestDiff(t *testing.T) {
	before := invariant.Snapshot{"link": {"device lo", "veth a"}, "mount": {"tmpfs on /run"}}
	after := invariant.Snapshot{"link": {"device lo", "veth b"}, "mount": {"tmpfs on /run", "tmpfs on /run"}}
	want := []string{"+ mount: tmpfs on /run", "+ link: veth b", "- link: veth a"}
	if diff := cmp.Diff(want, invariant.Diff(before, after)); diff != "" {
		t.Errorf("Diff (-want +got):\n%s", diff)
	}
}

// A leak of every kind is seen: what a check does not see, it does not check.
func TestEveryKindIsSeen(t *testing.T) {
	if !box.Enter(t) {
		return
	}
	dir := t.TempDir()
	opts := invariant.Options{Dirs: []string{dir}, Wait: time.Millisecond}
	before, err := invariant.Take(opts)
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	sleeper := exec.Command("unshare", "--net", "--pid", "--fork", "sleep", "60")
	must(sleeper.Start())
	must(os.MkdirAll(filepath.Join(dir, "pods", ".new-x"), 0o755))
	must(os.MkdirAll("/run/gantry/leases/default", 0o755))
	must(os.WriteFile("/run/gantry/leases/default/172.16.28.2", nil, 0o644))
	must(os.WriteFile("/run/gantry/leases/default/lock", nil, 0o644))
	must(os.MkdirAll("/run/gantry/abcd", 0o755))
	must(unix.Mount("x", "/run/gantry/abcd", "tmpfs", 0, ""))
	must(exec.Command("ip", "link", "add", "leak", "type", "veth", "peer", "name", "peer").Run())
	must(exec.Command("nft", "add", "table", "inet", "leak").Run())
	must(mkCgroup())
	lock, err := os.Create(filepath.Join(dir, "pods", ".new-x", "lock"))
	must(err)
	must(unix.FcntlFlock(lock.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Len: 1}))
	time.Sleep(50 * time.Millisecond) // the sleeper forks

	after, err := invariant.Take(opts)
	must(err)
	got := strings.Join(invariant.Diff(before, after), "\n")
	for _, want := range []string{
		"sleep", "+ mount: tmpfs on /run/gantry/abcd", "+ netns: net:[", "+ link: veth leak", "+ nft: table inet leak",
		"+ lease: /run/gantry/leases/default/172.16.28.2", "/leak", "+ lock: OFDLCK WRITE on " + lock.Name(),
		"+ pod: " + dir + "/pods/.new-x", "+ run: /run/gantry/abcd",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("not seen: %q in\n%s", want, got)
		}
	}
	if strings.Contains(got, "default/lock") {
		t.Error("the leases' lock file is reported; it may stay")
	}
}

// mkCgroup makes a cgroup in the box's pids hierarchy, or in v2.
func mkCgroup() error {
	if _, err := os.Stat("/sys/fs/cgroup/pids"); err == nil {
		return os.Mkdir("/sys/fs/cgroup/pids/leak", 0o755)
	}
	return os.Mkdir("/sys/fs/cgroup/leak", 0o755)
}

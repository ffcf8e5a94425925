package pods

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// prepare commits a pod with one app and releases its lock.
func prepare(t *testing.T, s *Store, name string) *Pod {
	t.Helper()
	d, err := s.Draft(NewUUID())
	if err != nil {
		t.Fatal(err)
	}
	if err := d.AddApp(&App{Name: "web", StopSignal: "SIGTERM"}); err != nil {
		t.Fatal(err)
	}
	lock, err := d.Commit(&Manifest{Name: name, Net: NetNone}, false)
	if err != nil {
		t.Fatal(errors.Join(err, d.Discard()))
	}
	if err := lock.Release(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d.Pod
}

func wantState(t *testing.T, p *Pod, want State) {
	t.Helper()
	got, err := p.State()
	if err != nil || got != want {
		t.Fatalf("state %s, %v; want %s", got, err, want)
	}
}

func TestLife(t *testing.T) {
	s := In(t.TempDir())
	d, err := s.Draft(NewUUID())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	wantState(t, d.Pod, Preparing)
	lock, err := d.Commit(&Manifest{}, true)
	if err != nil {
		t.Fatal(err)
	}
	wantState(t, d.Pod, Starting)
	if _, err := d.LockLife(); !errors.Is(err, ErrBusy) {
		t.Fatalf("second life lock: %v", err)
	}
	if err := d.WriteRun(&Run{BootID: BootID(), PID: os.Getpid()}); err != nil {
		t.Fatal(err)
	}
	wantState(t, d.Pod, Running)
	if err := d.WriteExit(&Exit{Code: 3}); err != nil {
		t.Fatal(err)
	}
	wantState(t, d.Pod, Exiting)
	if err := lock.Release(); err != nil {
		t.Fatal(err)
	}
	wantState(t, d.Pod, Exited)
}

func TestRunOfAnotherBootIsExited(t *testing.T) {
	p := prepare(t, In(t.TempDir()), "")
	if err := p.WriteRun(&Run{BootID: "another"}); err != nil {
		t.Fatal(err)
	}
	lock, err := p.LockLife()
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Release()
	wantState(t, p, Exited)
}

// The lock belongs to the open file: it lives as long as any process that inherited it, and no longer.
func TestLockLivesWithItsHolder(t *testing.T) {
	p := prepare(t, In(t.TempDir()), "")
	lock, err := p.LockLife()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sleep", "60")
	cmd.ExtraFiles = []*os.File{lock.File()}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := lock.Release(); err != nil {
		t.Fatal(err)
	}
	wantState(t, p, Starting)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	if err := p.WaitDead(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("wait for a living pod: %v", err)
	}
	cancel()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := p.WaitDead(t.Context()); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	wantState(t, p, Prepared)
}

func TestRoundTrip(t *testing.T) {
	p := prepare(t, In(t.TempDir()), "")
	want := &Exit{Version: Version, Code: 137, Reason: "app web ran out of memory", Finished: time.Unix(1, 2).UTC(), Left: []string{"cgroups"}}
	if err := p.WriteExit(want); err != nil {
		t.Fatal(err)
	}
	got, err := p.Exit()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestReadRefuses(t *testing.T) {
	for _, c := range []struct{ name, content, want string }{
		{"unknown version", `{"version":"v9"}`, "unknown version"},
		{"no version", `{}`, "unknown version"},
		{"unknown field", `{"version":"v1","surprise":1}`, "surprise"},
		{"cut off", `{"version":"v1"`, "unexpected EOF"},
		{"empty", ``, "EOF"},
		{"not an object", `[]`, "cannot unmarshal"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := prepare(t, In(t.TempDir()), "")
			if err := p.Root().WriteFile(exitFile, []byte(c.content), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := p.Exit(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q in it", err, c.want)
			}
		})
	}
}

func TestAppRuns(t *testing.T) {
	p := prepare(t, In(t.TempDir()), "")
	if r, n, err := p.LastRun("web"); r != nil || n != 0 || err != nil {
		t.Fatalf("before the first run: %v %d %v", r, n, err)
	}
	for i := range 3 {
		if err := p.WriteAppRun("web", i, &AppRun{Code: i}); err != nil {
			t.Fatal(err)
		}
	}
	r, n, err := p.LastRun("web")
	if err != nil || n != 3 || r.Code != 2 {
		t.Fatalf("after three runs: %+v %d %v", r, n, err)
	}
}

func TestOpenByNameAndPrefix(t *testing.T) {
	s := In(t.TempDir())
	p := prepare(t, s, "web")
	for _, which := range []string{p.UUID, "web", p.UUID[:8]} {
		got, err := s.Open(which)
		if err != nil || got.UUID != p.UUID {
			t.Fatalf("open %q: %v", which, err)
		}
		_ = got.Close()
	}
	for _, which := range []string{"", "..", "../pods", "no-such", "-rf", strings.Repeat("a", 300), "a\nb"} {
		if _, err := s.Open(which); !errors.Is(err, ErrNotFound) {
			t.Errorf("open %q: %v", which, err)
		}
	}
	other := prepare(t, s, "other")
	for i := range len(p.UUID) {
		if p.UUID[:i] == other.UUID[:i] && i > 0 {
			if _, err := s.Open(p.UUID[:i]); !errors.Is(err, ErrAmbiguous) {
				t.Errorf("open %q: %v", p.UUID[:i], err)
			}
		}
	}
}

func TestNameIsUniqueAmongLivingPods(t *testing.T) {
	s := In(t.TempDir())
	first := prepare(t, s, "web")
	d, err := s.Draft(NewUUID())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Commit(&Manifest{Name: "web"}, false); !errors.Is(err, ErrNameTaken) {
		t.Fatalf("second pod of one name: %v", err)
	}
	if err := d.Discard(); err != nil {
		t.Fatal(err)
	}
	if err := first.WriteRun(&Run{BootID: "another"}); err != nil { // over
		t.Fatal(err)
	}
	prepare(t, s, "web")
	uuids, err := s.UUIDs()
	if err != nil || len(uuids) != 2 {
		t.Fatalf("pods %v, %v", uuids, err)
	}
}

func TestOneOfManyGetsTheName(t *testing.T) {
	s := In(t.TempDir())
	var wg sync.WaitGroup
	won := make(chan *Lock, 16)
	for range cap(won) {
		wg.Go(func() {
			d, err := s.Draft(NewUUID())
			if err != nil {
				t.Error(err)
				return
			}
			if lock, err := d.Commit(&Manifest{Name: "web"}, false); err == nil {
				won <- lock
			} else if !errors.Is(err, ErrNameTaken) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(won) != 1 {
		t.Fatalf("%d pods are called web", len(won))
	}
}

func TestRemoveLeavesNothing(t *testing.T) {
	s := In(t.TempDir())
	p := prepare(t, s, "web")
	deep := filepath.Join(s.PodPath(p.UUID), "apps/web/upper/a/b/c")
	if err := os.MkdirAll(deep, 0); err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(t.TempDir(), "precious")
	if err := os.WriteFile(outside, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Dir(outside), filepath.Join(deep, "link")); err != nil {
		t.Fatal(err)
	}
	for range 2 { // idempotent
		if err := s.Remove(p); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{s.Path(), s.namesPath()} {
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("%s: %v, %v", dir, left, err)
		}
	}
	if _, err := os.Stat(outside); err != nil {
		t.Errorf("removal followed a link: %v", err)
	}
}

func TestSweep(t *testing.T) {
	s := In(t.TempDir())
	kept := prepare(t, s, "")
	for _, name := range []string{".trash-x/apps/web", ".new-empty", ".new-dead"} {
		if err := os.MkdirAll(filepath.Join(s.Path(), name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(s.Path(), ".new-dead", lockFile), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(s.Path(), ".new-alive"), 0o700); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(filepath.Join(s.Path(), ".new-alive"))
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	lock, err := lockNew(root)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Release()
	if err := s.Sweep(); err != nil {
		t.Fatal(err)
	}
	var left []string
	entries, err := os.ReadDir(s.Path())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if diff := cmp.Diff([]string{".new-alive", kept.UUID}, left); diff != "" {
		t.Error(diff)
	}
}

func TestSweepWithoutPods(t *testing.T) {
	if err := In(filepath.Join(t.TempDir(), "none")).Sweep(); err != nil {
		t.Fatal(err)
	}
}

func TestDiscard(t *testing.T) {
	s := In(t.TempDir())
	d, err := s.Draft(NewUUID())
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Discard(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(s.PodPath(d.UUID)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("draft is still there: %v", err)
	}
}

func TestCheckName(t *testing.T) {
	for _, good := range []string{"a", "web-1", "go_nerve.x", "0", strings.Repeat("a", 63)} {
		if err := CheckName(good); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"", "-rf", "../x", "a..b", "A", "a b", "a\nb", "é", strings.Repeat("a", 64), "/", "."} {
		if CheckName(bad) == nil {
			t.Errorf("%q is a name", bad)
		}
	}
	for _, good := range []string{"web", "memory", "redis.max", "tasks-1", "pidsx.max"} {
		if err := CheckAppName(good); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"tasks", "notify_on_release", "cgroup.procs", "memory.max", "cpu.", "A"} {
		if CheckAppName(bad) == nil {
			t.Errorf("%q is an app's name", bad)
		}
	}
}

// A tree deeper than any limit on descriptors or paths goes, too.
func TestRemoveTreeOfAnyDepth(t *testing.T) {
	top := t.TempDir()
	dir, err := os.Open(top)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	fd := int(dir.Fd())
	for i := range 5000 {
		if err := unix.Mkdirat(fd, "d", 0o700); err != nil {
			t.Fatal(err)
		}
		next, err := unix.Openat(fd, "d", unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			_ = unix.Close(fd)
		}
		fd = next
	}
	_ = unix.Close(fd)
	if err := RemoveTree(filepath.Join(top, "d")); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(top); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

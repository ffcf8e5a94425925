package stage1_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods"
	"github.com/gantryrun/gantry/tests/await"
	"github.com/gantryrun/gantry/tests/box"
)

// frozen is a file system on which who writes waits and does not die: until thaw.
func frozen(t *testing.T) (dir string, freeze, thaw func()) {
	t.Helper()
	dir = t.TempDir()
	img := filepath.Join(t.TempDir(), "img")
	for _, argv := range [][]string{
		{"truncate", "-s", "8M", img}, {"mke2fs", "-q", "-t", "ext4", img}, {"mount", "-o", "loop", img, dir},
	} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", argv[0], err, out)
		}
	}
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	const fifreeze, fithaw = 0xc0045877, 0xc0045878
	do := func(number uint) func() {
		return func() { _, _ = unix.IoctlRetInt(int(f.Fd()), number) }
	}
	freeze, thaw = do(fifreeze), do(fithaw)
	t.Cleanup(func() {
		thaw()
		_ = f.Close()
		_ = unix.Unmount(dir, unix.MNT_DETACH)
	})
	return dir, freeze, thaw
}

// deadlocked writes for ever, where it is frozen.
const deadlocked = "touch /up; while :; do echo x >/disk/file; done"

func withDisk(dir, pid string) func(*specs.Spec) {
	return func(s *specs.Spec) {
		if pid == pods.PIDHost {
			withoutPID(s)
		}
		s.Mounts = append(s.Mounts, specs.Mount{Destination: "/disk", Type: "bind", Source: dir, Options: []string{"bind", "rw"}})
	}
}

// withoutPID is what stage0 writes of an app in the host's PID namespace.
func withoutPID(s *specs.Spec) {
	s.Linux.Namespaces = slices.DeleteFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.PIDNamespace })
}

// awaitState waits until a process of the app is in the state, as ps shows it.
func awaitState(t *testing.T, pid, state string) {
	t.Helper()
	await.Until(t, "process "+pid+" to be in state "+state, func() bool {
		data, err := os.ReadFile("/proc/" + pid + "/stat")
		_, rest, _ := strings.Cut(string(data), ") ")
		return err == nil && strings.HasPrefix(rest, state)
	})
}

// A process that SIGKILL does not end, since it waits for a disk, does not keep the supervisor from hearing anybody: where the reaper's end
// ends the pod's processes, and where the supervisor kills them one by one.
func TestUndead(t *testing.T) {
	for _, pid := range []string{"pod", pods.PIDHost} {
		t.Run(pid, func(t *testing.T) {
			if !box.Enter(t) {
				return
			}
			dir, freeze, thaw := frozen(t)
			b := newBed(t)
			b.pid = pid
			b.edit = withDisk(dir, pid)
			app := sh("app", deadlocked)
			d := b.prepare(app)
			cmd := b.start(d, os.Stdout, os.Stderr)
			b.awaitReady(d)
			b.await(d, "app", "up")
			freeze()
			process := b.childOf(cmd.Process.Pid)
			awaitState(t, process, "D")
			if err := cmd.Process.Signal(unix.SIGQUIT); err != nil {
				t.Fatal(err)
			}
			await.Until(t, "an answer", func() bool {
				return ask(t, d, `{"version":"v1","verb":"start","app":"app"}`) == `{"error":"the pod is being stopped"}`
			})
			if state, err := d.State(); err != nil || state != pods.Running {
				t.Errorf("state %s, %v, with a process that lives", state, err)
			}
			thaw()
			if code := wait(cmd); code != 137 {
				t.Errorf("exit code %d", code)
			}
			b.end(d, 137)
		})
	}
}

// childOf is the process of a pod's only app.
func (b *bed) childOf(supervisor int) string {
	b.t.Helper()
	var pids []string
	await.Until(b.t, "the app to have a process", func() bool {
		out, err := exec.Command("pgrep", "-x", "-P", strconv.Itoa(supervisor), "sh").Output()
		pids = strings.Fields(string(out))
		return err == nil && len(pids) == 1
	})
	return pids[0]
}

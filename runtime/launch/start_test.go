package launch_test

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods"
)

func TestExitCode(t *testing.T) {
	p := newPod(t)
	if code, out := p.run(nil, "sh", "-c", "echo hello; exit 7"); code != 7 || out != "hello\n" {
		t.Errorf("got exit code %d and %q", code, out)
	}
	// The same name once more, as a restart does.
	if code, out := p.run(nil, "sh", "-c", "kill -9 $$"); code != 137 || out != "" {
		t.Errorf("got exit code %d and %q", code, out)
	}
}

func TestEnvironment(t *testing.T) {
	tests := []struct {
		name string
		edit func(*specs.Spec)
		args []string
		want string
	}{
		{"descriptors", nil, []string{"ls", "/proc/self/fd"}, "0\n1\n2\n3\n"}, // 3 is ls's own
		{"hostname of the pod", nil, []string{"hostname"}, "pod\n"},
		{"HOME is never looked up", func(s *specs.Spec) { s.Process.Env = []string{"PATH=/bin"} }, []string{"env"}, "PATH=/bin\nHOME=/\n"},
		{"read-only root", func(s *specs.Spec) { s.Root = &specs.Root{Readonly: true} }, []string{"touch", "/file"}, "touch: /file: Read-only file system\n"},
		{"user", func(s *specs.Spec) {
			s.Process.User = specs.User{UID: 1000, GID: 1001, AdditionalGids: []uint32{77}}
			s.Root = &specs.Root{Readonly: true}
		}, []string{"id"}, "uid=1000(web) gid=1001(web) groups=77(logs)\n"},
		{"working directory is made", func(s *specs.Spec) { s.Process.Cwd = "/srv/new" }, []string{"pwd"}, "/srv/new\n"},
		{"no new privileges", nil, []string{"grep", "NoNewPrivs", "/proc/self/status"}, "NoNewPrivs:\t1\n"},
		{"new privileges", func(s *specs.Spec) { s.Process.NoNewPrivileges = false }, []string{"grep", "NoNewPrivs", "/proc/self/status"}, "NoNewPrivs:\t0\n"},
		{"signals", nil, []string{"grep", "-E", "Sig(Blk|Ign)", "/proc/self/status"}, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n"},
		{"own cgroup namespace", nil, []string{"grep", "-c", "gantry", "/proc/self/cgroup"}, "0\n"},
	}
	p := newPod(t)
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			if code, out := p.run(tc.edit, tc.args...); out != tc.want {
				t.Errorf("got exit code %d and %q, want %q", code, out, tc.want)
			}
		})
	}
}

func TestFiles(t *testing.T) {
	p := newPod(t)
	hosts := filepath.Join(p.dir, "hosts")
	p.must(os.WriteFile(hosts, []byte("127.0.0.1 here\n"), 0o644))
	app := p.app("app", nil, "sh", "-c", "cat /etc/hosts; echo >/etc/hosts")
	app.Files = map[string]string{"/etc/hosts": hosts}
	if _, out := p.runApp(app); !strings.HasPrefix(out, "127.0.0.1 here\n") || !strings.Contains(out, "Read-only") {
		t.Errorf("got %q", out)
	}
}

func TestNotStarted(t *testing.T) {
	tests := []struct {
		name string
		args []string
		code int
		want string
	}{
		{"not in PATH", []string{"nonesuch"}, 127, "nonesuch: not found in $PATH"},
		{"no such path", []string{"/bin/nonesuch"}, 127, "/bin/nonesuch: no such file in the image"},
		{"interpreter is missing", []string{"/bin/nosh"}, 127, "/bin/nosh: its interpreter /nowhere/sh is not in the image"},
		{"not executable", []string{"/bin/plain"}, 126, "/bin/plain: permission denied: not executable for this user, or a directory"},
		{"not executable, in PATH", []string{"plain"}, 126, "plain: found in $PATH, but not executable for this user"},
		{"directory", []string{"/bin"}, 126, "/bin: permission denied: not executable for this user, or a directory"},
	}
	p := newPod(t)
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			if code, out := p.run(nil, tc.args...); code != tc.code || out != tc.want {
				t.Errorf("got exit code %d and %q, want %d and %q", code, out, tc.code, tc.want)
			}
			p.wantNothing(t, "app")
		})
	}
	t.Run("broken configuration", func(t *testing.T) {
		code, out := p.run(func(s *specs.Spec) {
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/data", Type: "bind", Source: "/nonesuch", Options: []string{"bind"}})
		}, "true")
		if code != 254 || !strings.Contains(out, "/nonesuch") {
			t.Errorf("got exit code %d and %q", code, out)
		}
		p.wantNothing(t, "app")
	})
	t.Run("namespace that the pod does not have", func(t *testing.T) {
		app := p.app("app", nil, "true")
		app.Namespaces = map[string]string{"pid": p.namespaces["pid"]}
		if code, out := p.runApp(app); code != 254 || out != "join network namespace: the pod has none" {
			t.Errorf("got exit code %d and %q", code, out)
		}
	})
}

// wantNothing checks that an app which did not start left nothing.
func (p *pod) wantNothing(t *testing.T, app string) {
	t.Helper()
	left, err := filepath.Glob(p.stateDir() + "/*")
	p.must(err)
	for _, dir := range cgroupDirs(t, p.cgroup+"/"+app) {
		if _, err := os.Stat(dir); err == nil {
			left = append(left, dir)
		}
	}
	if len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestSharedNamespaces(t *testing.T) {
	p := newPod(t)
	r, w, err := os.Pipe()
	p.must(err)
	defer r.Close()
	script := "for n in pid net ipc uts mnt cgroup; do ls -l /proc/self/ns/$n; done; sleep 1000"
	one, two := p.app("one", nil, "sh", "-c", script), p.app("two", nil, "sh", "-c", script)
	bad := p.app("bad", nil, "nonesuch")
	one.Stdout, two.Stdout = 0, 0
	answers := p.start([]*os.File{w}, one, bad, two)
	p.must(w.Close())
	if answers[0].Error != "" || answers[1].Code != 127 || answers[2].Error != "" {
		t.Fatalf("got %+v", answers)
	}
	for _, kind := range []string{"pid", "net", "ipc", "uts", "mnt", "cgroup"} {
		a, errA := os.Readlink(nsPath(answers[0].PID, kind)) // fails unless these are our own namespace's process IDs
		b, errB := os.Readlink(nsPath(answers[2].PID, kind))
		pod, errPod := os.Readlink(nsPath(p.reaper.Process.Pid, kind))
		if errA != nil || errB != nil || errPod != nil {
			t.Fatal(errA, errB, errPod)
		}
		shared := kind != "mnt" && kind != "cgroup"
		if (a == b) != shared || (a == pod) != shared {
			t.Errorf("%s namespace: %s, %s, the pod's %s", kind, a, b, pod)
		}
	}
}

func nsPath(pid int, kind string) string { return fmt.Sprintf("/proc/%d/ns/%s", pid, kind) }

// TestManyDescriptors: what has no room with the line comes before it, with spaces.
func TestManyDescriptors(t *testing.T) {
	p := newPod(t)
	r, w, err := os.Pipe()
	p.must(err)
	defer r.Close()
	app := p.app("app", nil, "sh", "-c", "echo the last")
	app.Stdout = 299
	many := make([]int, 253)
	for i := range many {
		many[i] = int(r.Fd())
	}
	last := append(slices.Clone(many[:46]), int(w.Fd()))
	cmd, conn := p.launcher()
	defer conn.Close()
	_, _, err = conn.WriteMsgUnix([]byte{' '}, unix.UnixRights(many...), nil)
	p.must(err)
	_, _, err = conn.WriteMsgUnix(p.request(app), unix.UnixRights(last...), nil)
	p.must(err)
	p.must(w.Close())
	var answer pods.Launched
	p.must(json.NewDecoder(conn).Decode(&answer))
	p.must(cmd.Wait())
	if answer.Error != "" {
		t.Fatal(answer.Error)
	}
	out, err := io.ReadAll(r)
	p.must(err)
	if code := p.wait(answer.PID); code != 0 || string(out) != "the last\n" {
		t.Errorf("exit code %d, %q", code, out)
	}
}

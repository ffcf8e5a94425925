package stage1_test

import (
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods"
	"github.com/gantryrun/gantry/tests/await"
	"github.com/gantryrun/gantry/tests/box"
	"github.com/gantryrun/gantry/tests/build"
	"github.com/gantryrun/gantry/tests/invariant"
)

func TestMain(m *testing.M) { os.Exit(box.Main(m)) }

// bed is a data directory with pods made by hand: stage1 knows nothing of images.
type bed struct {
	t      *testing.T
	bin    string
	store  *pods.Store
	lower  string
	before invariant.Snapshot
	opts   invariant.Options
	edit   func(*specs.Spec) // of every app; may be nil
	stdin  *os.File
	pid    string // of the manifest; empty: pod
	group  bool   // stage1 has a process group of its own
	cgroup string // that stage1 starts in; empty: the test's
}

func newBed(t *testing.T) *bed {
	dir := t.TempDir()
	b := &bed{t: t, bin: build.Dir(t), store: pods.In(dir), lower: filepath.Join(dir, "lower"), opts: invariant.Options{Dirs: []string{dir}}}
	for _, d := range []string{"bin", "etc", "proc", "dev", "tmp"} {
		if err := os.MkdirAll(filepath.Join(b.lower, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	copyFile(t, "/bin/busybox", filepath.Join(b.lower, "bin/busybox"))
	if err := os.Symlink("busybox", filepath.Join(b.lower, "bin/sh")); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll("/run/gantry/pods", 0o700); err != nil {
		t.Fatal(err)
	}
	var err error
	if b.before, err = invariant.Take(b.opts); err != nil {
		t.Fatal(err)
	}
	return b
}

func copyFile(t *testing.T, from, to string) {
	data, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, data, 0o755)
	}
	if err != nil {
		t.Fatalf("copy busybox (Debian package busybox-static): %v", err)
	}
}

// sh is an app that runs script.
func sh(name, script string, after ...string) *pods.App {
	return &pods.App{
		Name: name, Exec: []string{"/bin/sh", "-c", script}, StopSignal: "SIGTERM", StopTimeout: 30, Essential: true, After: after,
	}
}

func config(a *pods.App) *specs.Spec {
	mount := func(fs, target string, options ...string) specs.Mount {
		return specs.Mount{Destination: target, Type: fs, Source: fs, Options: options}
	}
	spec := &specs.Spec{
		Version: specs.Version,
		Process: &specs.Process{Args: a.Exec, Cwd: "/", Env: []string{"PATH=/bin"}, NoNewPrivileges: true},
		Root:    &specs.Root{},
		Mounts:  []specs.Mount{mount("proc", "/proc"), mount("tmpfs", "/dev", "nosuid", "mode=755")},
		Linux:   &specs.Linux{},
	}
	for _, n := range []specs.LinuxNamespaceType{"mount", "cgroup", "pid", "network", "ipc", "uts"} {
		spec.Linux.Namespaces = append(spec.Linux.Namespaces, specs.LinuxNamespace{Type: n})
	}
	return spec
}

// prepare commits a pod of the apps.
func (b *bed) prepare(apps ...*pods.App) *pods.Draft {
	b.t.Helper()
	d, err := b.store.Draft(pods.NewUUID())
	if err != nil {
		b.t.Fatal(err)
	}
	for i, a := range apps {
		a.Order = i
		b.write(d, a)
	}
	return d
}

// write writes what the pod has of an app.
func (b *bed) write(d *pods.Draft, a *pods.App) {
	b.t.Helper()
	a.Rootfs = pods.Rootfs{Lower: []string{b.lower}}
	spec := config(a)
	if b.edit != nil {
		b.edit(spec)
	}
	data, err := json.Marshal(spec)
	if err == nil {
		err = d.WriteFile(pods.AppPath(a.Name, pods.ConfigFile), data)
	}
	if err == nil {
		err = b.writeHooks(d, a)
	}
	if err == nil {
		err = d.AddApp(a)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// start commits the draft and starts stage1 on it, in a mount namespace of its own, as stage0 does.
func (b *bed) start(d *pods.Draft, stdout, stderr io.Writer) *exec.Cmd {
	b.t.Helper()
	lock, err := d.Commit(&pods.Manifest{Hostname: "pod", Net: pods.NetNone, IPC: "private", PID: cmp.Or(b.pid, "pod")}, false)
	if err != nil {
		b.t.Fatal(err)
	}
	defer lock.Release()
	dir, err := os.Open(d.Path())
	if err != nil {
		b.t.Fatal(err)
	}
	defer dir.Close()
	cmd := exec.Command(filepath.Join(b.bin, "gantry-stage1"), "run", d.Path())
	if b.cgroup != "" {
		cmd = exec.Command("/bin/sh", append([]string{"-c", `echo 0 >"$0/cgroup.procs" && exec "$@"`, b.cgroup}, cmd.Args...)...)
	}
	cmd.ExtraFiles, cmd.Env = []*os.File{dir, lock.File()}, append(os.Environ(), "GOMAXPROCS=1") // as stage0 has it
	cmd.Stdout, cmd.Stderr = stdout, stderr
	if b.stdin != nil {
		cmd.Stdin = b.stdin
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Setpgid: b.group}
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	return cmd
}

// end checks that the pod is exited with code, removes it, and that nothing is left.
func (b *bed) end(d *pods.Draft, code int) *pods.Exit {
	b.t.Helper()
	state, err := d.State()
	if err != nil || state != pods.Exited {
		b.t.Errorf("state %s, %v; want exited", state, err)
	}
	exit, err := d.Exit()
	if err != nil {
		b.t.Fatal(err)
	}
	if exit.Code != code || len(exit.Left) > 0 {
		b.t.Errorf("exit.json says %+v, want code %d", exit, code)
	}
	if diff := gocmp.Diff(digest(b.t, d.Pod), exit.Pod); diff != "" {
		b.t.Errorf("exit.json's copy of the other files: %s", diff)
	}
	b.remove(d)
	return exit
}

// digest is what the files other than exit.json say.
func digest(t *testing.T, p *pods.Pod) *pods.Digest {
	t.Helper()
	m, err := p.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	run, err := p.Run()
	if err != nil {
		t.Fatal(err)
	}
	apps, err := p.Apps()
	if err != nil {
		t.Fatal(err)
	}
	net, err := p.Net()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return pods.NewDigest(m, run.Started, apps, net)
}

func (b *bed) remove(d *pods.Draft) {
	b.t.Helper()
	if err := b.store.Remove(d.Pod); err != nil {
		b.t.Fatal(err)
	}
	_ = d.Close()
	invariant.Check(b.t, b.before, b.opts)
}

func wait(cmd *exec.Cmd) int {
	_ = cmd.Wait()
	return cmd.ProcessState.ExitCode()
}

// await returns when the file appears that an app writes in its root.
func (b *bed) await(d *pods.Draft, app, file string) {
	b.t.Helper()
	await.Until(b.t, "app "+app+" to write "+file, func() bool {
		_, err := os.Stat(b.file(d, app, file))
		return err == nil
	})
}

// share mounts a directory as /share in every app. In its file order they write down what they do: lines of several apps that come out of
// the pod may overtake each other.
func (b *bed) share() string {
	dir := b.t.TempDir()
	b.edit = func(s *specs.Spec) {
		s.Mounts = append(s.Mounts, specs.Mount{Destination: "/share", Type: "bind", Source: dir, Options: []string{"rbind"}})
	}
	return dir
}

// order fails the test where the apps have not done what they should, in this order.
func order(t *testing.T, share, want string) {
	t.Helper()
	if got, err := os.ReadFile(filepath.Join(share, "order")); string(got) != want {
		t.Errorf("order %q, %v; want %q", got, err, want)
	}
}

// file is where a file lies that an app writes.
func (b *bed) file(d *pods.Draft, app, file string) string {
	return filepath.Join(d.Path(), pods.AppPath(app, "upper"), file)
}

func TestOneApp(t *testing.T) {
	if !box.Enter(t) {
		return
	}
	b := newBed(t)
	d := b.prepare(sh("app", "echo out; echo err >&2; cat /etc/hostname; exit 7"))
	var out, errs strings.Builder
	if code := wait(b.start(d, &out, &errs)); code != 7 {
		t.Errorf("exit code %d, want 7", code)
	}
	if out.String() != "out\npod\n" || errs.String() != "err\n" {
		t.Errorf("stdout %q, stderr %q", out.String(), errs.String())
	}
	run, n, err := d.LastRun("app")
	if err != nil || n != 1 || run.Code != 7 {
		t.Errorf("record %+v, %d, %v", run, n, err)
	}
	b.end(d, 7)
}

func TestTwoAppsShareNamespaces(t *testing.T) {
	if !box.Enter(t) {
		return
	}
	b := newBed(t)
	b.share()
	// Each stays until the other has looked: the number of a namespace that has gone is free for the next one.
	const look = "for n in net ipc uts pid mnt cgroup; do readlink /proc/self/ns/$n; done; touch /share/ME; until [ -e /share/OTHER ]; do sleep 0.05; done"
	d := b.prepare(sh("one", strings.NewReplacer("ME", "one", "OTHER", "two").Replace(look)), sh("two", strings.NewReplacer("ME", "two", "OTHER", "one").Replace(look)))
	var out strings.Builder
	if code := wait(b.start(d, &out, os.Stderr)); code != 0 {
		t.Errorf("exit code %d", code)
	}
	seen := map[string]map[string]bool{}
	for line := range strings.Lines(out.String()) {
		app, ns, _ := strings.Cut(strings.TrimSpace(line), ": ")
		if seen[ns] == nil {
			seen[ns] = map[string]bool{}
		}
		seen[ns][app] = true
	}
	for ns, apps := range seen {
		shared := !strings.HasPrefix(ns, "mnt:") && !strings.HasPrefix(ns, "cgroup:")
		if shared != (len(apps) == 2) {
			t.Errorf("%s is seen by %v", ns, apps)
		}
	}
	if len(seen) != 4+2+2 {
		t.Errorf("apps saw %q", out.String())
	}
	b.end(d, 0)
}

func TestFailingAppEndsThePod(t *testing.T) {
	if !box.Enter(t) {
		return
	}
	b := newBed(t)
	d := b.prepare(sh("bad", "exit 3"), sh("good", "trap 'echo bye; exit 0' TERM; sleep 1000 & wait"))
	var out strings.Builder
	if code := wait(b.start(d, &out, os.Stderr)); code != 3 {
		t.Errorf("exit code %d, want 3", code)
	}
	if exit := b.end(d, 3); exit.Reason != "app bad exited with 3" {
		t.Errorf("reason %q", exit.Reason)
	}
}

func TestAppThatCannotStart(t *testing.T) {
	if !box.Enter(t) {
		return
	}
	b := newBed(t)
	app := sh("app", "")
	app.Exec = []string{"/no/such/program"}
	d := b.prepare(app, sh("other", "sleep 1000"))
	if code := wait(b.start(d, os.Stdout, os.Stderr)); code != 127 {
		t.Errorf("exit code %d, want 127", code)
	}
	if exit := b.end(d, 127); !strings.Contains(exit.Reason, "/no/such/program") {
		t.Errorf("reason %q", exit.Reason)
	}
}

// Apps start in the order of After, and stop in the reverse: what drains does so while what serves is still there.
func TestOrder(t *testing.T) {
	if !box.Enter(t) {
		return
	}
	b := newBed(t)
	share := b.share()
	script := func(name string) string {
		return "trap 'sleep 0.2; echo " + name + " >>/share/order; exit 0' TERM; touch /up; while :; do sleep 0.05; done"
	}
	d := b.prepare(sh("announcer", script("announcer"), "server"), sh("server", script("server")))
	cmd := b.start(d, os.Stdout, os.Stderr)
	b.await(d, "announcer", "up")
	b.await(d, "server", "up")
	if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := wait(cmd); code != 0 {
		t.Errorf("exit code %d", code)
	}
	order(t, share, "announcer\nserver\n")
	b.end(d, 0)
}

func TestStop(t *testing.T) {
	for _, c := range []struct {
		name    string
		script  string
		signals []unix.Signal
		code    int
		timeout int // in seconds; default: long
	}{
		{"app that takes SIGTERM", "trap 'exit 0' TERM; touch /up; while :; do sleep 0.05; done", []unix.Signal{unix.SIGTERM}, 0, 0},
		{"app that dies of it", "touch /up; exec sleep 1000", []unix.Signal{unix.SIGTERM}, 143, 0},
		{"app that ignores it, until its time is over", "trap '' TERM; touch /up; while :; do sleep 0.05; done", []unix.Signal{unix.SIGINT}, 137, 1},
		{"second signal", "trap '' TERM; touch /up; while :; do sleep 0.05; done", []unix.Signal{unix.SIGTERM, unix.SIGTERM}, 137, 10},
		{"SIGQUIT", "trap '' TERM; touch /up; while :; do sleep 0.05; done", []unix.Signal{unix.SIGQUIT}, 137, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if !box.Enter(t) {
				return
			}
			b := newBed(t)
			app := sh("app", c.script)
			app.StopTimeout = cmp.Or(c.timeout, app.StopTimeout)
			d := b.prepare(app)
			cmd := b.start(d, os.Stdout, os.Stderr)
			b.await(d, "app", "up")
			for _, sig := range c.signals {
				if err := cmd.Process.Signal(sig); err != nil {
					t.Fatal(err)
				}
				time.Sleep(100 * time.Millisecond) // signals of one kind are not queued
			}
			if code := wait(cmd); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			b.end(d, c.code)
		})
	}
}

package launch_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods"
	"github.com/gantryrun/gantry/tests/await"
)

// binaries builds gantry-launch and gantry-init, once per run of the tests.
var binaries = sync.OnceValues(func() (string, error) {
	if dir := os.Getenv(binariesVariable); dir != "" {
		return dir, nil
	}
	dir, err := os.MkdirTemp("", "gantry-launch-test-")
	if err != nil {
		return "", err
	}
	build := exec.Command("go", "build", "-trimpath", "-tags", "seccomp netgo osusergo runc_nocriu",
		"-ldflags", "-s -w -linkmode external -extldflags -static", "-o", dir+"/gantry-launch", "../../cmd/gantry-launch")
	build.Env = append(os.Environ(), "CGO_ENABLED=1")
	if out, err := build.CombinedOutput(); err != nil {
		return dir, fmt.Errorf("build gantry-launch: %w: %s", err, out)
	}
	sources, err := filepath.Glob("../../cmd/gantry-init/*.c")
	if err != nil {
		return dir, err
	}
	args := []string{"-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector", "-Os", "-s", "-o", dir + "/gantry-init"}
	if out, err := exec.Command("gcc", append(args, sources...)...).CombinedOutput(); err != nil {
		return dir, fmt.Errorf("build gantry-init: %w: %s", err, out)
	}
	return dir, nil
})

// binariesVariable tells a test that runs in a process of its own where its parent has put the programs.
const binariesVariable = "GANTRY_TEST_BINARIES"

const busybox = "/bin/busybox"

func TestMain(m *testing.M) {
	code := m.Run()
	if os.Getenv(binariesVariable) == "" {
		if dir, _ := binaries(); dir != "" {
			os.RemoveAll(dir)
		}
	}
	os.Exit(code)
}

// pod is a supervisor in miniature: a reaper with namespaces, a cgroup below the test's own, one root file system.
type pod struct {
	t          testing.TB
	bin        string
	dir        string
	cgroup     string // relative to the test's own, in each hierarchy
	reaper     *exec.Cmd
	namespaces map[string]string
	open       []*os.File
	before     string // what a shell does before it becomes gantry-launch, in a mount namespace of its own
}

func newPod(t testing.TB) *pod {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("skipped: starting containers needs root")
	}
	if _, err := os.Stat(busybox); err != nil {
		t.Skipf("skipped: needs Debian's busybox-static: %v", err)
	}
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	p := &pod{t: t, bin: bin, dir: filepath.Join(t.TempDir(), "0e9c8d16-9d4c-4b8e-8f3e-2d5b7a6c1f00"), namespaces: map[string]string{}}
	p.cgroup = fmt.Sprintf("gantry-box-%d-%d", os.Getpid(), time.Now().UnixNano())
	p.makeRootfs()
	t.Cleanup(p.close)
	p.startReaper()
	return p
}

func (p *pod) makeRootfs() {
	for _, dir := range []string{"bin", "dev", "etc", "proc", "sys", "tmp"} {
		p.must(os.MkdirAll(filepath.Join(p.rootfs(), dir), 0o755))
	}
	p.must(os.Chmod(p.rootfs(), 0o755))
	for dir := p.rootfs(); dir != "/"; dir = filepath.Dir(dir) { // t.TempDir is 0700 for others
		if fi, err := os.Stat(dir); err == nil && fi.Mode()&0o001 == 0 {
			p.must(os.Chmod(dir, fi.Mode()|0o011))
		}
	}
	data, err := os.ReadFile(busybox)
	p.must(err)
	p.must(os.WriteFile(filepath.Join(p.rootfs(), "bin/busybox"), data, 0o755))
	for _, name := range []string{"sh", "true", "cat", "sleep", "id", "ls", "pwd", "touch", "hostname", "readlink", "grep", "test", "kill", "env", "tty", "stty"} {
		p.must(os.Symlink("busybox", filepath.Join(p.rootfs(), "bin", name)))
	}
	p.must(os.WriteFile(filepath.Join(p.rootfs(), "bin/plain"), []byte("no program\n"), 0o644))
	p.must(os.WriteFile(filepath.Join(p.rootfs(), "bin/nosh"), []byte("#!/nowhere/sh\n"), 0o755))
	p.must(os.WriteFile(filepath.Join(p.rootfs(), "etc/passwd"), []byte("root:x:0:0::/root:/bin/sh\nweb:x:1000:1001::/home/web:/bin/sh\n4242:x:0:0::/:/bin/sh\n"), 0o644))
	p.must(os.WriteFile(filepath.Join(p.rootfs(), "etc/group"), []byte("root:x:0:\nweb:x:1001:\nlogs:x:77:web\n"), 0o644))
}

func (p *pod) rootfs() string { return filepath.Join(p.dir, "rootfs") }

func (p *pod) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// startReaper does what stage1 does.
func (p *pod) startReaper() {
	self, err := unix.PidfdOpen(os.Getpid(), 0)
	p.must(err)
	supervisor := os.NewFile(uintptr(self), "supervisor")
	defer supervisor.Close()
	ready, readyW, err := os.Pipe()
	p.must(err)
	defer ready.Close()
	p.reaper = exec.Command(p.bin+"/gantry-init", "reap", "--supervisor-fd=3", "--ready-fd=4", "--hostname=pod")
	p.reaper.Env = []string{}
	p.reaper.ExtraFiles = []*os.File{supervisor, readyW}
	p.reaper.Stderr = os.Stderr
	p.reaper.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS}
	p.must(p.reaper.Start())
	p.must(readyW.Close())
	line, _ := bufio.NewReader(ready).ReadString('\n')
	if line != "ready\n" {
		p.t.Fatalf("reaper: %q", line)
	}
	for name, file := range map[string]string{"pid": "pid", "network": "net", "ipc": "ipc", "uts": "uts"} {
		f, err := os.Open(fmt.Sprintf("/proc/%d/ns/%s", p.reaper.Process.Pid, file))
		p.must(err)
		p.open = append(p.open, f)
		p.namespaces[name] = fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd())
	}
}

func (p *pod) close() {
	if p.reaper != nil && p.reaper.Process != nil {
		_ = p.reaper.Process.Kill()
		reapAll(p.t) // the apps first: the kernel does not let a reaper go before them
	}
	for _, f := range p.open {
		_ = f.Close()
	}
	for _, dir := range cgroupDirs(p.t, p.cgroup) {
		if err := removeCgroup(dir); err != nil {
			p.t.Errorf("left behind: %v", err)
		}
	}
}

// reapAll collects every child of this process, and fails where one does not die.
func reapAll(t testing.TB) {
	t.Helper()
	await.Success(t, "no process to be left behind", func() error {
		pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
		for err == nil && pid > 0 {
			pid, err = unix.Wait4(-1, nil, unix.WNOHANG, nil)
		}
		if err == unix.ECHILD {
			return nil
		}
		return errors.Join(errors.New("one does not die"), err)
	})
}

// app returns an app that runs args with the defaults that stage0 gives; edit may be nil.
func (p *pod) app(name string, edit func(*specs.Spec), args ...string) pods.LaunchApp {
	p.t.Helper()
	spec := defaultSpec(args)
	if edit != nil {
		edit(spec)
	}
	data, err := json.Marshal(spec)
	p.must(err)
	config := filepath.Join(p.dir, name+".json")
	p.must(os.WriteFile(config, data, 0o600))
	return pods.LaunchApp{
		Name: name, Config: config, Rootfs: p.rootfs(), Cgroup: p.cgroup + "/" + name, Namespaces: p.namespaces,
		Stdin: -1, Stdout: -1, Stderr: -1,
	}
}

func (p *pod) stateDir() string { return filepath.Join(p.dir, "lc") }

// launcher starts gantry-launch.
func (p *pod) launcher() (*exec.Cmd, *net.UnixConn) {
	p.t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	p.must(err)
	ours, theirs := os.NewFile(uintptr(pair[0]), "ours"), os.NewFile(uintptr(pair[1]), "theirs")
	defer ours.Close()
	defer theirs.Close()
	conn, err := net.FileConn(ours)
	p.must(err)
	cmd := exec.Command(p.bin+"/gantry-launch", "start")
	if p.before != "" {
		cmd = exec.Command("/bin/sh", "-ec", p.before+`; exec "$0" start`, p.bin+"/gantry-launch")
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
	}
	cmd.Env = []string{}
	cmd.Dir = "/"
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = []*os.File{theirs}
	p.must(cmd.Start())
	return cmd, conn.(*net.UnixConn)
}

func (p *pod) request(apps ...pods.LaunchApp) []byte {
	p.t.Helper()
	data, err := json.Marshal(pods.Launch{StateDir: p.stateDir(), Init: p.bin + "/gantry-init", Apps: apps})
	p.must(err)
	return append(data, '\n')
}

// start starts apps, which count their descriptors in streams, and returns the answers, in their order.
func (p *pod) start(streams []*os.File, apps ...pods.LaunchApp) []pods.Launched {
	p.t.Helper()
	cmd, conn := p.launcher()
	defer conn.Close()
	var fds []int
	for _, f := range streams {
		fds = append(fds, int(f.Fd()))
	}
	_, _, err := conn.WriteMsgUnix(p.request(apps...), unix.UnixRights(fds...), nil)
	p.must(err)
	var answers []pods.Launched
	for dec := json.NewDecoder(conn); ; {
		var a pods.Launched
		if dec.Decode(&a) != nil {
			break
		}
		answers = append(answers, a)
	}
	p.must(cmd.Wait())
	if len(answers) != len(apps) {
		p.t.Fatalf("%d answers for %d apps: %+v", len(answers), len(apps), answers)
	}
	for i, a := range answers {
		if a.App != apps[i].Name {
			p.t.Fatalf("answer %d is of %q, not %q", i, a.App, apps[i].Name)
		}
	}
	return answers
}

// run runs one app to its end, and returns its exit code and all that it wrote.
func (p *pod) run(edit func(*specs.Spec), args ...string) (int, string) {
	p.t.Helper()
	return p.runApp(p.app("app", edit, args...))
}

func (p *pod) runApp(app pods.LaunchApp) (int, string) {
	p.t.Helper()
	r, w, err := os.Pipe()
	p.must(err)
	defer r.Close()
	app.Stdout, app.Stderr = 0, 0
	answer := p.start([]*os.File{w}, app)[0]
	p.must(w.Close())
	if answer.Error != "" {
		return answer.Code, answer.Error
	}
	var out strings.Builder
	_, err = bufio.NewReader(r).WriteTo(&out)
	p.must(err)
	return p.wait(answer.PID), out.String()
}

// wait collects an app: it has become a child of this process.
func (p *pod) wait(pid int) int {
	p.t.Helper()
	var status unix.WaitStatus
	if _, err := unix.Wait4(pid, &status, 0, nil); err != nil {
		p.t.Fatalf("wait for app %d: %v", pid, err)
	}
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}

// cgroupDirs are the directories that a cgroup path relative to our own means, one per hierarchy.
func cgroupDirs(t testing.TB, path string) []string {
	t.Helper()
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	var dirs []string
	for line := range strings.Lines(string(own)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		for m := range strings.Lines(string(mounts)) {
			front, back, _ := strings.Cut(strings.TrimSpace(m), " - ")
			kind := strings.Fields(back)
			if kind[0] == "cgroup" && f[1] != "" && slices.Contains(strings.Split(kind[2], ","), strings.Split(f[1], ",")[0]) ||
				kind[0] == "cgroup2" && f[1] == "" {
				dirs = append(dirs, filepath.Join(strings.Fields(front)[4], f[2], path))
			}
		}
	}
	return dirs
}

// removeCgroup removes dir, which must hold no process.
func removeCgroup(dir string) error {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if e.IsDir() {
			if err := removeCgroup(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := unix.Rmdir(dir); err != nil && err != unix.ENOENT {
		return &os.PathError{Op: "rmdir", Path: dir, Err: err}
	}
	return nil
}

func defaultSpec(args []string) *specs.Spec {
	caps := []string{
		"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_SETFCAP", "CAP_SETGID",
		"CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
	}
	return &specs.Spec{
		Version: specs.Version,
		Process: &specs.Process{
			Args: args, Cwd: "/", Env: []string{"PATH=/bin", "HOME=/"},
			NoNewPrivileges: true,
			Capabilities:    &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps},
			Rlimits:         []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 1024, Hard: 4096}},
		},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
			{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}},
			{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
			{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
			{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev", "relatime", "ro"}},
		},
		Linux: &specs.Linux{
			Resources: &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}},
			Namespaces: []specs.LinuxNamespace{
				{Type: "mount"}, {Type: "cgroup"}, {Type: "pid"}, {Type: "network"}, {Type: "ipc"}, {Type: "uts"},
			},
			MaskedPaths:   []string{"/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"},
			ReadonlyPaths: []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
		},
	}
}

package launch_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods"
)

// startEntered starts an app that runs script, and lays its files out as those of a pod. It returns what the script
// writes up to a line "ready".
func (p *pod) startEntered(edit func(*specs.Spec), seccomp *pods.Seccomp, script string) string {
	p.t.Helper()
	app := p.app("web", edit, "sh", "-c", script+"; echo ready; sleep 1000")
	app.Seccomp = seccomp
	dir := filepath.Join(p.dir, pods.AppPath("web", ""))
	p.must(os.MkdirAll(dir, 0o700))
	p.must(os.Rename(app.Config, filepath.Join(dir, pods.ConfigFile)))
	app.Config = filepath.Join(dir, pods.ConfigFile)
	data, err := pods.Marshal(&pods.App{Version: pods.Version, Name: "web", Seccomp: seccomp})
	p.must(err)
	p.must(os.WriteFile(filepath.Join(dir, pods.AppFile), data, 0o600))
	r, w, err := os.Pipe()
	p.must(err)
	defer r.Close()
	app.Stdout, app.Stderr = 0, 0
	if a := p.start([]*os.File{w}, app)[0]; a.Error != "" {
		p.t.Fatal(a.Error)
	}
	p.must(w.Close())
	var out strings.Builder
	for lines := bufio.NewReader(r); ; {
		line, err := lines.ReadString('\n')
		if line == "ready\n" || err != nil {
			return out.String()
		}
		out.WriteString(line)
	}
}

// enter is the command that gantry enter executes.
func (p *pod) enter(args ...string) *exec.Cmd {
	cmd := exec.Command(p.bin+"/gantry-launch", append([]string{"enter", "--run-dir=" + p.dir, "--pod-dir=" + p.dir, "--app=web"}, args...)...)
	cmd.Env = []string{"TERM=vt220", "SECRET=1"}
	return cmd
}

// security is everything about a process that may not be weaker after enter than after run.
const security = `grep -E '^(Uid|Gid|Groups|Umask|Sig(Blk|Ign|Cgt)|Cap|NoNewPrivs|Seccomp|Cpus_allowed_list)' /proc/self/status;
	cat /proc/self/limits /proc/self/cgroup /proc/self/mountinfo /proc/self/oom_score_adj /proc/self/uid_map; env | grep -v SHLVL;
	ls -l /proc/self/ns /proc/self/fd/3 2>/dev/null | grep -o '[a-z_]* -> .*'; pwd; readlink /proc/self/root`

func TestEnterIsAsTheApp(t *testing.T) {
	tests := []struct {
		name    string
		edit    func(*specs.Spec)
		seccomp bool
	}{
		{"root", nil, true},
		{"user", func(s *specs.Spec) {
			s.Process.User = specs.User{UID: 1000, GID: 1001, AdditionalGids: []uint32{77}}
			s.Process.Cwd = "/tmp"
			s.Process.Env = append(s.Process.Env, "COLOUR=blue")
			s.Root = &specs.Root{Readonly: true}
		}, true},
		{"libcontainer's filter", func(s *specs.Spec) {
			s.Process.NoNewPrivileges = false
			s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{
				{Names: []string{"mkdir", "mkdirat"}, Action: specs.ActErrno},
			}}
		}, false},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			p := newPod(t)
			var profile *pods.Seccomp
			if tc.seccomp {
				profile = p.profile(nil)
			}
			want := p.startEntered(tc.edit, profile, security)
			cmd := p.enter("--", "sh", "-c", security)
			cmd.Stderr = os.Stderr
			defer syscall.Umask(syscall.Umask(0o077)) // not what the command gets
			got, err := cmd.Output()
			if err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(string(got), "\n")); diff != "" || !strings.Contains(want, "Seccomp:\t2") {
				t.Errorf("run is -, enter is +:\n%s", diff)
			}
		})
	}
}

func TestEnter(t *testing.T) {
	tests := []struct {
		name string
		args []string
		code int
		want string
	}{
		{"exit code", []string{"--", "sh", "-c", "echo out; echo err >&2; exit 3"}, 3, "out\nerr\n"},
		{"signal", []string{"--", "sh", "-c", "kill -TERM $$"}, 143, ""},
		{"environment", []string{"--env=A=1", "--env=PATH=/bin:/x", "--", "env"}, 0, "HOME=/\nA=1\nPATH=/bin:/x\n"},
		{"working directory", []string{"--cwd=/tmp", "--", "pwd"}, 0, "/tmp\n"},
		{"user by name", []string{"--user=web", "--", "sh", "-c", "id; echo $HOME"}, 0, "uid=1000(web) gid=1001(web) groups=77(logs)\n/home/web\n"},
		{"user and group", []string{"--user=web:77", "--", "id"}, 0, "uid=1000(web) gid=77(logs)\n"},
		{"a number is no name", []string{"--user=4242", "--", "sh", "-c", "id -u"}, 0, "4242\n"},
		{"no such user", []string{"--user=nobody", "--", "id"}, 254, "gantry: enter: user \"nobody\": no such user or group in the app\n"},
		{"not found", []string{"--", "nonesuch"}, 127, "gantry: enter: nonesuch: not found in $PATH\n"},
		{"not executable", []string{"--", "/bin/plain"}, 126, "gantry: enter: /bin/plain: permission denied: not executable for this user, or a directory\n"},
		{"descriptors", []string{"--", "ls", "/proc/self/fd"}, 0, "0\n1\n2\n3\n"},
		{"no command", nil, 254, "gantry: enter: want --run-dir, --pod-dir, --app and a command\n"},
	}
	p := newPod(t)
	p.startEntered(nil, p.profile(nil), "true")
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			cmd := p.enter(tc.args...)
			out, err := cmd.CombinedOutput()
			if code := cmd.ProcessState.ExitCode(); code != tc.code || string(out) != tc.want {
				t.Errorf("got exit code %d and %q (%v)", code, out, err)
			}
		})
	}
	t.Run("passwd is a FIFO", func(t *testing.T) {
		p.must(os.Remove(p.rootfs() + "/etc/passwd"))
		p.must(unix.Mkfifo(p.rootfs()+"/etc/passwd", 0o644))
		cmd := p.enter("--user=web", "--", "id")
		out, _ := cmd.CombinedOutput()
		if code := cmd.ProcessState.ExitCode(); code != 254 || !strings.Contains(string(out), "not a regular file") {
			t.Errorf("got exit code %d and %q", code, out)
		}
	})
	t.Run("signals are passed on", func(t *testing.T) {
		cmd := p.enter("--", "sh", "-c", "trap 'exit 9' HUP; echo ready; while :; do sleep 0.01; done")
		out, err := cmd.StdoutPipe()
		p.must(err)
		p.must(cmd.Start())
		_, _ = io.ReadFull(out, make([]byte, 6))
		p.must(cmd.Process.Signal(unix.SIGHUP))
		if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != 9 {
			t.Errorf("got %v", cmd.ProcessState)
		}
	})
	t.Run("app is over", func(t *testing.T) {
		for len(p.processes(t)) > 0 {
			p.killCgroup(t)
		}
		cmd := p.enter("--", "true")
		out, _ := cmd.CombinedOutput()
		if code := cmd.ProcessState.ExitCode(); code != 254 || !strings.Contains(string(out), "not running") {
			t.Errorf("got exit code %d and %q", code, out)
		}
	})
}

func TestEnterOnTerminal(t *testing.T) {
	p := newPod(t)
	p.startEntered(nil, p.profile(nil), "true")
	master, slave := openTerminal(t)
	p.must(unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 30, Col: 90}))
	before, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	p.must(err)

	cmd := p.enter("--tty", "--", "sh", "-c", "stty -echo; tty; stty size; echo $TERM; read x; until [ \"$(stty size)\" = \"40 100\" ]; do sleep 0.05; done; stty size; echo got $x; sleep 1000 & exit 5")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	p.must(cmd.Start())
	lines := bufio.NewReader(master)
	expect := func(want string) {
		t.Helper()
		p.must(master.SetReadDeadline(time.Now().Add(time.Minute)))
		if line, err := lines.ReadString('\n'); strings.TrimSpace(line) != want {
			t.Fatalf("got %q (%v), want %q", line, err, want)
		}
	}
	expect("/dev/pts/0")
	expect("30 90")
	expect("vt220")
	p.must(unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 40, Col: 100}))
	_, err = master.WriteString("word\r")
	p.must(err)
	expect("40 100")
	expect("got word")
	began := time.Now()
	if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != 5 {
		t.Errorf("got %v", cmd.ProcessState)
	}
	if d := time.Since(began); d > time.Minute {
		t.Errorf("a process left behind held the terminal for %v", d)
	}
	after, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	p.must(err)
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("the caller's terminal was changed:\n%s", diff)
	}
}

// TestConsole: an app with a terminal sends its master along.
func TestConsole(t *testing.T) {
	p := newPod(t)
	cmd, conn := p.launcher()
	defer conn.Close()
	app := p.app("app", func(s *specs.Spec) {
		s.Process.Terminal = true
	}, "sh", "-c", "tty; stty size; read x; exit 4")
	app.Rows, app.Columns = 11, 22
	_, err := conn.Write(p.request(app))
	p.must(err)
	line, rights := make([]byte, 4096), make([]byte, 64)
	n, m, _, _, err := conn.ReadMsgUnix(line, rights)
	p.must(err)
	p.must(cmd.Wait())
	var pid int
	if _, err := fmt.Sscanf(string(line[:n]), `{"app":"app","pid":%d}`, &pid); err != nil {
		t.Fatalf("%q: %v", line[:n], err)
	}
	messages, err := unix.ParseSocketControlMessage(rights[:m])
	p.must(err)
	fds, err := unix.ParseUnixRights(&messages[0])
	p.must(err)
	master := os.NewFile(uintptr(fds[0]), "master")
	defer master.Close()
	lines := bufio.NewReader(master)
	for _, want := range []string{"/dev/pts/0\r\n", "11 22\r\n"} {
		if got, err := lines.ReadString('\n'); got != want {
			t.Errorf("got %q (%v), want %q", got, err, want)
		}
	}
	_, err = master.WriteString("\n")
	p.must(err)
	if code := p.wait(pid); code != 4 {
		t.Errorf("got exit code %d", code)
	}
}

// openTerminal makes a terminal outside any pod.
func openTerminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	master = os.NewFile(uintptr(fd), "master")
	err = errors.Join(unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	number, err2 := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close(); slave.Close() })
	return master, slave
}

// TestEnterFullOutput: what a full disk does not take of the command's output is an error, not a success.
func TestEnterFullOutput(t *testing.T) {
	p := newPod(t)
	p.startEntered(nil, p.profile(nil), "true")
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	p.must(err)
	defer full.Close()
	cmd := p.enter("--", "sh", "-c", "echo lost")
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = full, &said
	_ = cmd.Run()
	if code := cmd.ProcessState.ExitCode(); code != 254 || !strings.Contains(said.String(), "gantry: enter: output is lost: write /dev/stdout: no space left on device") {
		t.Errorf("exit code %d, stderr %q", code, said.String())
	}
}

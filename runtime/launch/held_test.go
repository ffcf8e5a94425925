package launch_test

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods"
	"github.com/gantryrun/gantry/tests/await"
)

// held asks for an app that is held, and returns where it writes to; more comes in the same message.
func (p *pod) held(app pods.LaunchApp, more string) (cmd *exec.Cmd, conn *net.UnixConn, out *os.File) {
	p.t.Helper()
	out, w, err := os.Pipe()
	p.must(err)
	p.t.Cleanup(func() { _ = out.Close() })
	defer w.Close()
	app.Stdout, app.Stderr = 0, 0
	data, err := json.Marshal(pods.Launch{StateDir: p.stateDir(), Init: p.bin + "/gantry-init", Held: true, Apps: []pods.LaunchApp{app}})
	p.must(err)
	cmd, conn = p.launcher()
	p.t.Cleanup(func() { _ = conn.Close() })
	_, _, err = conn.WriteMsgUnix(append(data, "\n"+more...), unix.UnixRights(int(w.Fd())), nil)
	p.must(err)
	return cmd, conn, out
}

// end takes the answer for the one app, and collects it.
func (p *pod) end(cmd *exec.Cmd, conn *net.UnixConn, out io.Reader) (code int, said string) {
	p.t.Helper()
	var a pods.Launched
	p.must(json.NewDecoder(conn).Decode(&a))
	p.must(cmd.Wait())
	if a.Error != "" {
		return a.Code, a.Error
	}
	var text strings.Builder
	_, err := bufio.NewReader(out).WriteTo(&text)
	p.must(err)
	return p.wait(a.PID), text.String()
}

// inRoot returns the process of an app whose root file system is its root already.
func (p *pod) inRoot(t *testing.T) (found int) {
	await.Until(t, "the second stage to be in its root", func() bool {
		for pid := range p.processes(t) {
			if _, err := os.Stat(filepath.Join("/proc", strconv.Itoa(pid), "root/etc/told")); err == nil {
				found = pid
			}
		}
		return found > 0
	})
	return found
}

// TestHeld: an app that is held has all but its program; what is written meanwhile to the files that it is given is there when that begins.
func TestHeld(t *testing.T) {
	p := newPod(t)
	told := filepath.Join(p.dir, "told")
	for _, more := range []string{"", "\n"} {
		p.must(os.WriteFile(told, nil, 0o644))
		app := p.app("app", nil, "cat", "/etc/told")
		app.Files = map[string]string{"/etc/told": told}
		want := "address"
		if more != "" { // let go at once
			want = ""
		}
		cmd, conn, out := p.held(app, more)
		if more == "" {
			p.inRoot(t)
			p.must(os.WriteFile(told, []byte(want), 0o644))
			_, err := conn.Write([]byte{'\n'})
			p.must(err)
		}
		if code, said := p.end(cmd, conn, out); code != 0 || said != want {
			t.Errorf("got exit code %d and %q, want %q", code, said, want)
		}
	}
}

// TestHeldSupervisorGone: an app that is held when the supervisor goes never runs.
func TestHeldSupervisorGone(t *testing.T) {
	p := newPod(t)
	hostPID := func(s *specs.Spec) {
		s.Linux.Namespaces = append(s.Linux.Namespaces[:2:2], s.Linux.Namespaces[3:]...)
	}
	told := filepath.Join(p.dir, "told")
	p.must(os.WriteFile(told, nil, 0o644))
	app := p.app("app", hostPID, "sh", "-c", "echo it runs")
	app.Files = map[string]string{"/etc/told": told}
	cmd, conn, out := p.held(app, "")
	p.inRoot(t)
	p.must(conn.Close())
	if cmd.Wait() == nil {
		t.Error("gantry-launch is content")
	}
	await.Until(t, "the app to be dead", func() bool { return len(p.processes(t)) == 0 })
	said, err := io.ReadAll(out)
	p.must(err)
	if len(said) > 0 {
		t.Errorf("the app said %q", said)
	}
	p.killCgroup(t)
	p.must(os.RemoveAll(p.stateDir()))
}

// TestHeldSysctl: what the second stage sets of an interface is set when that is there.
func TestHeldSysctl(t *testing.T) {
	p := newPod(t)
	const name = "net.ipv4.conf.late0.rp_filter"
	app := p.app("app", func(s *specs.Spec) { s.Linux.Sysctl = map[string]string{name: "2"} }, "cat", "/proc/sys/"+strings.ReplaceAll(name, ".", "/"))
	cmd, conn, out := p.held(app, "")
	await.Until(t, "gantry-launch to have begun", func() bool {
		_, err := os.Stat(p.stateDir())
		return err == nil
	})
	add := exec.Command("nsenter", "--net="+p.namespaces["network"], "ip", "link", "add", "late0", "type", "veth", "peer", "late1")
	if said, err := add.CombinedOutput(); err != nil {
		t.Fatalf("make an interface: %v: %s", err, said)
	}
	_, err := conn.Write([]byte{'\n'})
	p.must(err)
	if code, said := p.end(cmd, conn, out); code != 0 || said != "2\n" {
		t.Errorf("got exit code %d and %q", code, said)
	}
}

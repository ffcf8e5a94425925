package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/tests/await"
	"github.com/gantryrun/gantry/tests/box"
	"github.com/gantryrun/gantry/tests/build"
)

// faulty is a network with a plugin that fails as it is told to.
type faulty struct {
	*host
	etc, dir string
}

func newFaulty(t *testing.T, h *host) faulty {
	t.Helper()
	f := faulty{h, t.TempDir(), t.TempDir()}
	bin := t.TempDir()
	c := exec.Command("go", "build", "-o", filepath.Join(bin, "cnifault"), "github.com/gantryrun/gantry/tests/cnifault")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("build cnifault: %v\n%s", err, out)
	}
	for name, content := range map[string]string{
		"paths.d/cni.json": fmt.Sprintf(`{"kind": "paths", "version": "v1", "cni": [%q]}`, bin),
		"net.d/n.conflist": fmt.Sprintf(`{"cniVersion": "1.1.0", "name": "n", "plugins": [
			{"type": "gantry-ptp", "ipMasq": true, "ipam": {"type": "gantry-leases", "subnet": "10.40.0.0/24"}},
			{"type": "cnifault", "dir": %q},
			{"type": "gantry-portmap", "capabilities": {"portMappings": true}}]}`, f.dir),
	} {
		file := filepath.Join(f.etc, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func (f faulty) set(t *testing.T, command, fault string) {
	t.Helper()
	_ = os.Remove(filepath.Join(f.dir, command))
	if fault != "" {
		if err := os.WriteFile(filepath.Join(f.dir, command), []byte(fault), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// called says whether the plugin has been called with a command since the log was removed.
func (f faulty) called(command string) bool {
	data, _ := os.ReadFile(filepath.Join(f.dir, "log"))
	return strings.Contains(string(data), command+" ")
}

// plugins are the plugin's processes.
func plugins(t *testing.T) []string {
	t.Helper()
	var out []string
	all, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range all {
		stat, _ := os.ReadFile(path)
		if s := string(stat); strings.Contains(s, " (cnifault) ") && !strings.Contains(s, ") Z ") {
			out = append(out, strings.Fields(s)[0])
		}
	}
	return out
}

// quick are the faults that end by themselves: a kill after the call comes at any point behind it.
var quick = []string{"error", "garbage-error", "garbage", "crash", "half", "huge"}

// SIGKILL of the supervisor around every call of a plugin, and plugins that fail under a supervisor that lives: gc leaves the host as it
// was, and no process of a plugin outlives its pod.
func TestFaultyNetwork(t *testing.T) {
	if !box.Enter(t, build.Env(build.Dir(t))) {
		return
	}
	h := newHost(t)
	image := busyboxArchive(t)
	h.must(t, "fetch", image)
	f := newFaulty(t, h)
	type kill struct {
		command, fault string
		until          string // a call of the plugin, after which the supervisor is killed; stop: it is stopped in its ADD; empty: later
		runs           bool
	}
	tests := []kill{
		{"ADD", "hang", "stop", false}, {"ADD", "half-hang", "stop", false}, {"ADD", "hang", "ADD", false}, {"ADD", "half-hang", "ADD", false}, {"ADD", "daemon", "ADD", true},
		{"DEL", "hang", "DEL", true}, {"DEL", "half-hang", "DEL", true},
		{"ADD", "daemon", "", true}, {"ADD", "error", "", false}, {"ADD", "half", "", false}, {"ADD", "crash", "", false},
		{"DEL", "error", "", true}, {"DEL", "crash", "", true}, {"DEL", "daemon", "", true}, {"DEL", "daemon", "DEL", true},
	}
	for _, fault := range quick {
		tests = append(tests, kill{"ADD", fault, "ADD", false}, kill{"DEL", fault, "DEL", true})
	}
	for _, test := range tests {
		t.Run(fmt.Sprintf("%s %s, killed in %q", test.command, test.fault, test.until), func(t *testing.T) {
			_ = os.Remove(filepath.Join(f.dir, "log"))
			f.set(t, test.command, test.fault)
			f.runAndEnd(t, image, test.until, test.runs)
			if test.fault == "daemon" && test.until == "" {
				await.Until(t, "what the plugin has started to end with the pod", func() bool { return len(plugins(t)) == 0 })
			}
			for _, command := range []string{"ADD", "DEL", "GC"} {
				f.set(t, command, "")
			}
			h.must(t, "--local-config="+f.etc, "gc", "--grace-period=0s")
			if !f.called("DEL") || !f.called("GC") {
				t.Error("gc has not called the plugin")
			}
			await.Until(t, "the plugin's processes to be gone", func() bool { return len(plugins(t)) == 0 })
			h.check(t)
			h.must(t, "fetch", image)
		})
	}
}

// runAndEnd runs a pod on the network and kills its supervisor in the middle of a call, or stops it.
func (f faulty) runAndEnd(t *testing.T, image, until string, runs bool) {
	t.Helper()
	uuidFile := filepath.Join(t.TempDir(), "uuid")
	cmd := f.command(t, "--local-config="+f.etc, "run", "--net=n", "--dns=192.0.2.1", "--port=8080:80/tcp", "--uuid-file-save="+uuidFile, image, "--", "sleep", "300")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	over := make(chan error, 1)
	go func() { over <- cmd.Wait() }()
	uuid := ""
	await.Until(t, "the plugin's ADD", func() bool {
		data, _ := os.ReadFile(uuidFile)
		uuid = strings.TrimSpace(string(data))
		return f.called("ADD") && uuid != ""
	})
	switch {
	case until == "ADD":
		_ = cmd.Process.Kill()
	case until == "stop":
		f.must(t, "stop", uuid) // would wait for the plugin's time, a minute, where nobody hears of it
	case runs:
		f.must(t, "status", "--wait-ready=60s", uuid)
		_ = cmd.Process.Signal(unix.SIGTERM)
		if until == "DEL" {
			await.Until(t, "the plugin's DEL", func() bool { return f.called("DEL") })
			_ = cmd.Process.Kill()
		}
	}
	err := <-over
	if (err == nil) != (until == "stop") {
		t.Errorf("the run ended with %v", err)
	}
	if s := f.state(t, uuid); s != "exited" && s != "aborted" {
		t.Errorf("the pod is %s", s)
	}
}

// SIGKILL of a command that looks after networks, in the middle of a plugin's call: nothing goes on behind it, the pod notices nothing, and
// the next command does the work.
func TestNetworkCommandsAreKilled(t *testing.T) {
	if !box.Enter(t, build.Env(build.Dir(t))) {
		return
	}
	h := newHost(t)
	image := busyboxArchive(t)
	h.must(t, "fetch", image)
	f := newFaulty(t, h)
	etc := "--local-config=" + f.etc
	for _, test := range []struct {
		call string // of the plugin
		dead bool   // the pod's supervisor was killed before
		args []string
	}{
		{"STATUS", false, []string{"network", "check"}},
		{"CHECK", false, []string{"network", "check"}},
		{"CHECK", false, []string{"network", "check", "--repair"}},
		{"GC", false, []string{"gc"}},
		{"DEL", true, []string{"gc", "--grace-period=0s"}},
		{"GC", true, []string{"gc", "--grace-period=0s"}},
	} {
		t.Run(fmt.Sprintf("%v in %s, dead pod: %v", test.args, test.call, test.dead), func(t *testing.T) {
			uuidFile := filepath.Join(t.TempDir(), "uuid")
			pod := f.command(t, etc, "run", "--net=n", "--dns=192.0.2.1", "--port=8080:80/tcp", "--uuid-file-save="+uuidFile, image, "--", "sleep", "300")
			if err := pod.Start(); err != nil {
				t.Fatal(err)
			}
			over := make(chan struct{})
			go func() { _ = pod.Wait(); close(over) }()
			await.Until(t, "the pod's UUID", func() bool { data, _ := os.ReadFile(uuidFile); return len(data) > 0 })
			await.Until(t, "the pod to be there and ready", func() bool { // its UUID is written before it is
				return f.command(t, etc, "status", "--wait-ready=60s", "--uuid-file="+uuidFile).Run() == nil
			})
			if test.dead {
				_ = pod.Process.Kill()
				<-over
			} else if test.args[0] == "network" && len(test.args) == 3 {
				if out, err := exec.Command("nft", "flush", "ruleset").CombinedOutput(); err != nil {
					t.Fatalf("nft: %v\n%s", err, out)
				}
			}
			faults := []string{"half-hang"}
			if !test.dead { // its attachment is there for the next one
				faults = slices.Concat(faults, quick)
			}
			for _, fault := range faults {
				_ = os.Remove(filepath.Join(f.dir, "log"))
				f.set(t, test.call, fault)
				cmd := f.command(t, append([]string{etc}, test.args...)...)
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				await.Until(t, fault+" in the plugin's "+test.call, func() bool { return f.called(test.call) })
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
				await.Until(t, "the plugin's processes to be gone", func() bool { return len(plugins(t)) == 0 })
			}
			f.set(t, test.call, "")
			h.must(t, append([]string{etc}, test.args...)...)
			if !test.dead {
				h.must(t, etc, "network", "check", "--repair")
				h.must(t, etc, "network", "check")
				_ = pod.Process.Signal(unix.SIGTERM)
				<-over
			}
			h.must(t, etc, "gc", "--grace-period=0s")
			h.check(t)
			h.must(t, "fetch", image)
		})
	}
}

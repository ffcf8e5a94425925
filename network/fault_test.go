package network

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/network/netlab"
	"github.com/gantryrun/gantry/tests/await"
)

// faults are what the plugin can be told to do, and whether each command then fails: what a plugin prints counts for ADD alone, and
// one that leaves a daemon behind has done its work.
var faults = []struct {
	name           string
	add, otherwise bool
}{
	{"error", true, true}, {"garbage-error", true, true}, {"garbage", true, false}, {"hang", true, true},
	{"crash", true, true}, {"half", true, true}, {"huge", true, true}, {"daemon", false, false},
}

// faulty is a network whose second plugin fails as the files in dir say.
type faulty struct {
	dir string
	a   Attachment
}

// buildFaulty gives the directory of the plugin.
func buildFaulty(t *testing.T) string {
	t.Helper()
	bin := t.TempDir()
	build := exec.Command("go", "build", "-o", filepath.Join(bin, "cnifault"), "../tests/cnifault")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build cnifault: %v\n%s", err, out)
	}
	return bin
}

func newFaulty(t *testing.T, h *Host, bin string) faulty {
	t.Helper()
	h.PluginDirs = []string{bin}
	f := faulty{dir: t.TempDir()}
	f.a = attachment(t, "pod-a", "default", "8080:80")
	const portmap = `{"capabilities":{"portMappings":true},"type":"gantry-portmap"}`
	before, after, ok := strings.Cut(string(f.a.Conflist), portmap)
	if !ok {
		t.Fatalf("no place for the plugin in %s", f.a.Conflist)
	}
	f.a.Conflist = fmt.Appendf(nil, `%s{"type": "cnifault", "dir": %q},%s%s`, before, f.dir, portmap, after)
	return f
}

func (f faulty) set(t *testing.T, command, fault string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(f.dir, command), []byte(fault), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (f faulty) clear(t *testing.T, command string) {
	t.Helper()
	if err := os.Remove(filepath.Join(f.dir, command)); err != nil {
		t.Fatal(err)
	}
}

// commands are those that the plugin was called with.
func (f faulty) commands(t *testing.T) []string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(f.dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for line := range strings.Lines(string(data)) {
		out = append(out, strings.Fields(line)[0])
	}
	return out
}

// noneOfFault checks that nothing is left of the plugin, and ends the daemons that it was told to leave.
func noneOfFault(t *testing.T) {
	t.Helper()
	links, err := whole(netlink.LinkList)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if strings.HasPrefix(l.Attrs().Name, "fault") {
			t.Errorf("link %s of the plugin is left", l.Attrs().Name)
		}
	}
}

// processes are those of a program that live in the lab's host.
func processes(t *testing.T, program string) []int {
	t.Helper()
	var pids []int
	all, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		t.Fatal(err)
	}
	own, _ := os.Readlink("/proc/self/ns/net")
	for _, path := range all {
		comm, _ := os.ReadFile(path)
		ns, _ := os.Readlink(filepath.Join(filepath.Dir(path), "ns/net"))
		stat, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "stat"))
		if string(comm) == program+"\n" && ns == own && !strings.Contains(string(stat), ") Z ") {
			var pid int
			if _, err := fmt.Sscanf(path, "/proc/%d/", &pid); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

func TestFaultyPlugin(t *testing.T) {
	netlab.Require(t)
	bin := buildFaulty(t)
	for _, command := range []string{"ADD", "DEL", "CHECK", "GC", "STATUS"} {
		for _, fault := range faults {
			t.Run(command+" "+fault.name, func(t *testing.T) {
				h := lab(t)
				if fault.name == "hang" {
					h.Timeout = 3 * time.Second
				}
				f := newFaulty(t, h, bin)
				t.Cleanup(func() {
					noneOfFault(t)
					if fault.name != "daemon" {
						await.Success(t, "the plugin's processes to be gone", func() error {
							if left := processes(t, "cnifault"); left != nil {
								return fmt.Errorf("left: %v", left)
							}
							return nil
						})
					}
					for _, pid := range processes(t, "cnifault") {
						_ = unix.Kill(pid, unix.SIGKILL)
					}
				})
				begin := time.Now()
				f.set(t, command, fault.name)
				switch command {
				case "ADD":
					f.add(t, h, fault.add)
				case "DEL":
					f.del(t, h, fault.otherwise)
				default:
					f.ask(t, h, command, fault.otherwise)
				}
				if took := time.Since(begin); took > 2*patience {
					t.Errorf("took %v, with a time limit of %v", took, h.timeout())
				}
			})
		}
	}
}

// add: an ADD that fails is followed by DEL, and leaves nothing (the deferred check sees it).
func (f faulty) add(t *testing.T, h *Host, fails bool) {
	t.Helper()
	_, err := h.Attach(t.Context(), f.a, netlab.New(t).Path())
	if (err != nil) != fails || errors.Is(err, ErrLeft) {
		t.Errorf("attach: %v", err)
	}
	if !fails {
		if err := h.Detach(t.Context(), f.a, ""); err != nil {
			t.Error(err)
		}
	}
	if got := f.commands(t); !slices.Equal(got, []string{"ADD", "DEL"}) {
		t.Errorf("the plugin was called %v", got)
	}
	if err != nil && strings.ContainsAny(err.Error(), "\x00\x1b") {
		t.Errorf("control characters in %q", err)
	}
}

// del: a DEL that fails keeps nobody else from theirs, and is tried again.
func (f faulty) del(t *testing.T, h *Host, fails bool) {
	t.Helper()
	ns := netlab.New(t)
	if _, err := h.Attach(t.Context(), f.a, ns.Path()); err != nil {
		t.Fatal(err)
	}
	ns.Close()
	err := h.Detach(context.Background(), f.a, "")
	if (err != nil) != fails {
		t.Errorf("detach: %v", err)
	}
	for _, place := range []string{"leases/default/172.16.28.2", "leases/.index/default/pod-a-eth0"} {
		if _, err := os.Lstat(filepath.Join(h.RunDir, place)); err == nil {
			t.Errorf("%s is left", place)
		}
	}
	registered, err := h.Register()
	if err != nil || (len(registered) == 1) != fails {
		t.Errorf("register: %v, %v", registered, err)
	}
	f.clear(t, "DEL")
	for range 2 {
		leave(t, h, f.a, "")
	}
}

// ask: CHECK, GC and STATUS say what the plugin says, and change nothing.
func (f faulty) ask(t *testing.T, h *Host, command string, fails bool) {
	t.Helper()
	ns := netlab.New(t)
	res, err := h.Attach(t.Context(), f.a, ns.Path())
	if err != nil {
		t.Fatal(err)
	}
	switch command {
	case "CHECK":
		err = h.Check(t.Context(), f.a, ns.Path())
	case "GC":
		err = h.Collect(t.Context(), [][]byte{f.a.Conflist}, nil)
	case "STATUS":
		err = h.Status(t.Context(), f.a.Conflist)
	}
	if (err != nil) != fails {
		t.Errorf("%s: %v", command, err)
	}
	if got := f.commands(t); !slices.Equal(got, []string{"ADD", command}) {
		t.Errorf("the plugin was called %v", got)
	}
	f.clear(t, command)
	if err := h.Check(t.Context(), f.a, ns.Path()); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	if _, err := netlink.LinkByName(res.HostIfName); err != nil {
		t.Error(err)
	}
	ns.Close()
	leave(t, h, f.a, "")
}

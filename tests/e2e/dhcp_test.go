package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/tests/await"
	"github.com/gantryrun/gantry/tests/box"
	"github.com/gantryrun/gantry/tests/build"
)

// lan runs in the namespace of a machine that hands out 192.0.2.77 and what follows.
const lan = `printf 'start 192.0.2.77\nend 192.0.2.99\ninterface lan0\nlease_file %s/leases\npidfile %s/pid\noption subnet 255.255.255.0\n' "$1" "$1" >"$1/conf"
: >"$1/leases"
until ip addr add 192.0.2.2/24 dev lan0 2>/dev/null; do sleep 0.01; done
ip link set lan0 up
exec busybox udhcpd -f "$1/conf"`

// The daemon of the plugin dhcp is a child of the pod's supervisor, and ends with it: by a stop, and by SIGKILL; then gc leaves nothing.
func TestDHCP(t *testing.T) {
	if !box.Enter(t, build.Env(build.Dir(t))) {
		return
	}
	neighbour(t)
	h := newHost(t)
	image := busyboxArchive(t)
	h.must(t, "fetch", image)
	etc := t.TempDir()
	for name, content := range map[string]string{
		"paths.d/cni.json": fmt.Sprintf(`{"kind": "paths", "version": "v1", "cni": [%q]}`, filepath.Join(build.Dir(t), "cni")),
		"net.d/n.conflist": `{"cniVersion": "1.0.0", "name": "n", "plugins": [{"type": "macvlan", "master": "uplink", "ipam": {"type": "dhcp"}}]}`,
	} {
		file := filepath.Join(etc, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	pid := regexp.MustCompile(`(?m)^pid=([0-9]+)`)
	for _, killed := range []bool{false, true} {
		uuid := strings.TrimSpace(h.must(t, "--local-config="+etc, "run", "--detach", "--net=n", image, "--", "sleep", "300"))
		if ip := h.field(t, uuid, addressOf); !strings.HasPrefix(ip, "192.0.2.") {
			t.Errorf("address %s", ip)
		}
		supervisor := h.field(t, uuid, pid)
		daemons := named(t, "dhcp")
		if len(daemons) != 1 || daemons[0].parent != supervisor {
			t.Fatalf("daemons %v, want one of the supervisor %s", daemons, supervisor)
		}
		h.must(t, "network", "check")
		if killed {
			if err := unix.Kill(atoi(t, supervisor), unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
		} else {
			h.must(t, "stop", uuid)
		}
		await.Until(t, "the daemon to end", func() bool { return len(named(t, "dhcp")) == 0 })
		await.Until(t, "the pod to be over", func() bool { return h.state(t, uuid) == "exited" })
		h.must(t, "--local-config="+etc, "gc", "--grace-period=0s")
		if left, err := filepath.Glob("/run/gantry/dhcp/*"); err != nil || left != nil {
			t.Errorf("left: %v, %v", left, err)
		}
	}
	h.check(t)
}

// neighbour plugs the box into a network with a DHCP server, until the test's end.
func neighbour(t *testing.T) {
	t.Helper()
	server := exec.Command("unshare", "--net", "sh", "-ec", lan, "lan", t.TempDir())
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Process.Kill(); _ = server.Wait() })
	here, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	there := fmt.Sprintf("/proc/%d/ns/net", server.Process.Pid)
	await.Until(t, "the server's namespace", func() bool { ns, err := os.Readlink(there); return err == nil && ns != here })
	for _, args := range [][]string{
		{"link", "add", "uplink", "type", "veth", "peer", "name", "lan0", "netns", fmt.Sprint(server.Process.Pid)}, {"link", "set", "uplink", "up"},
	} {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %v: %v\n%s", args, err, out)
		}
	}
}

// process is one of the box's.
type process struct{ pid, parent string }

// named are the processes that run a program of this name.
func named(t *testing.T, name string) []process {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	var out []process
	for _, path := range all {
		stat, _ := os.ReadFile(path)
		pid, rest, _ := strings.Cut(string(stat), " ("+name+") ")
		if f := strings.Fields(rest); len(f) > 1 && f[0] != "Z" {
			out = append(out, process{pid, f[1]})
		}
	}
	return out
}

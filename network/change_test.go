package network

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/network/conf"
	"github.com/gantryrun/gantry/network/netlab"
)

// What an administrator changes while pods run: their own configuration is frozen, and all of it goes with them.

// written is a source with one network, as the file says now.
func written(t *testing.T, dir, plugins string) conf.Source {
	t.Helper()
	data := fmt.Sprintf(`{"cniVersion": "1.1.0", "name": "n", "plugins": [%s]}`, plugins)
	if err := os.WriteFile(filepath.Join(dir, "n.conflist"), []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
	return conf.Source{Dirs: []string{dir}}
}

func TestConfigurationChangesBetweenPods(t *testing.T) {
	h := lab(t)
	out := netlab.NewOutside(t, "uplink0")
	dir := t.TempDir()
	version := func(n int, more string) conf.Source {
		return written(t, dir, fmt.Sprintf(`{"type": "gantry-ptp", "ipMasq": true, %s "ipam": {"type": "gantry-leases", "ranges": [[{"subnet": "10.%d.0.0/24"}],
			[{"subnet": "fd00:%d::/64"}]], "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}}, {"type": "gantry-portmap", "capabilities": {"portMappings": true}}`, more, n, n))
	}
	first := start(t, h, attachmentFrom(t, version(71, ""), "pod-a", "n", "8080:80"))
	second := start(t, h, attachmentFrom(t, version(72, ""), "pod-b", "n", "8081:80"))
	third := start(t, h, attachmentFrom(t, version(73, `"restricted": true,`), "pod-c", "n"))
	serve(t, first, ":80")
	serve(t, second, ":80")
	serve(t, third, ":80")
	for _, p := range []*pod{first, second} {
		reaches(t, p, hostPort(first.ip4(), 80), p.ip4().String())
		reaches(t, p, hostPort(second.ip6(), 80), p.ip6().String())
	}
	blocked(t, first, hostPort(third.ip4(), 80), hostPort(third.ip6(), 80))
	if got := wrong(examine(t, h, false, first, second, third)); got != "" {
		t.Error(got)
	}
	detach(t, h, first, first.Path())
	first.Close()
	if _, err := ask(out, hostPort(out.Host4, 8081), 3e9); err != nil {
		t.Error(err)
	}
	reaches(t, onHost{}, hostPort(second.ip6(), 80), "fd00:72::1")
	// And now nothing is left, though the last pod knows only its own ranges: lab checks.
	if err := os.Remove(filepath.Join(dir, "n.conflist")); err != nil {
		t.Fatal(err)
	}
	for _, p := range []*pod{second, third} {
		detach(t, h, p, "")
	}
	if got, err := exec.Command("ip", "-6", "addr", "show", "dev", "lo").Output(); err != nil || strings.Contains(string(got), "fd00:7") {
		t.Errorf("left on lo: %v\n%s", err, got)
	}
}

// The rules are flushed, links and bridges deleted under running pods: each of them still ends and leaves nothing, and the next one starts.
func TestHostIsSweptUnderPods(t *testing.T) {
	dir := pluginDir(t, "./plugins/main/bridge", "./plugins/ipam/host-local")
	for name, command := range map[string]string{
		"rules":                    "nft flush ruleset",
		"table":                    "nft delete table inet gantry",
		"elements":                 "nft flush set inet gantry networks; nft flush map inet gantry forwards_any4; nft flush map inet gantry forwards_any6",
		"links":                    `for l in $(ip -o link | sed -n 's/^[0-9]*: \(gantry[a-z0-9]*\).*/\1/p'); do ip link del $l; done`,
		"bridge":                   "ip link del lab-br0",
		"forwarding":               "echo 0 >/proc/sys/net/ipv4/ip_forward; echo 0 >/proc/sys/net/ipv6/conf/all/forwarding",
		"addresses of lo":          "ip -6 addr flush dev lo; ip addr add ::1/128 dev lo",
		"routes":                   "ip route flush root 172.16.0.0/12; ip -6 route flush root fd67::/16",
		"leases":                   "rm -rf RUN/leases",
		"the whole run directory":  "rm -rf RUN",
		"IPv6":                     "echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6",
		"strict reverse filtering": "for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 1 >$f; done",
	} {
		t.Run(name, func(t *testing.T) {
			h := lab(t)
			h.PluginDirs = []string{dir}
			t.Cleanup(func() {
				_ = exec.Command("sh", "-c", "ip link del lab-br0; echo 0 >/proc/sys/net/ipv6/conf/all/disable_ipv6; ip addr add ::1/128 dev lo; ip link set lo down; ip link set lo up; for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 >$f; done").Run()
			})
			src := written(t, t.TempDir(), `{"type": "bridge", "bridge": "lab-br0", "isGateway": true, "ipam": {"type": "host-local", "subnet": "10.20.0.0/24", "dataDir": "`+h.RunDir+`/leases"}}`)
			src.PluginDirs = h.PluginDirs
			a := start(t, h, attachment(t, "pod-a", "default", "8080:80"))
			b := start(t, h, attachmentFrom(t, src, "pod-b", "n"))
			other := start(t, h, attachment(t, "pod-c", "default"))
			if out, err := exec.Command("sh", "-ec", strings.ReplaceAll(command, "RUN", h.RunDir)).CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", command, err, out)
			}
			_ = examine(t, h, true, a, b, other) // puts back what it can, and does not fail
			detach(t, h, a, a.Path())
			a.Close()
			detach(t, h, b, "")
			b.Close()
			again := start(t, h, attachment(t, "pod-d", "default", "8080:80"))
			serve(t, again, ":80")
			reaches(t, onHost{}, "127.0.0.1:8080", again.res.IPs[0].Gateway.String())
			reaches(t, onHost{}, hostPort(again.ip4(), 80), again.res.IPs[0].Gateway.String())
			bridged := start(t, h, attachmentFrom(t, src, "pod-e", "n"))
			serve(t, bridged, ":80")
			reaches(t, onHost{}, hostPort(bridged.ip4(), 80), "10.20.0.1")
		})
	}
}

// A run directory on a full disk: an attachment is refused and leaves nothing, one that was made goes.
func TestFullRunDirectory(t *testing.T) {
	for _, size := range []int{0, 1, 2, 3, 4, 6, 8} { // pages that are left
		t.Run(fmt.Sprintf("%d pages", size), func(t *testing.T) {
			h := lab(t)
			if err := os.MkdirAll(h.RunDir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := unix.Mount("tmpfs", h.RunDir, "tmpfs", 0, "size=1m"); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = unix.Unmount(h.RunDir, unix.MNT_DETACH) })
			a := start(t, h, attachment(t, "pod-a", "default", "8080:80"))
			fill(t, filepath.Join(h.RunDir, "use.lock"), size)
			attached := attachment(t, "pod-b", "default", "8081:80")
			if _, err := h.Attach(t.Context(), attached, netlab.New(t).Path()); err != nil && (!errors.Is(err, unix.ENOSPC) || errors.Is(err, ErrLeft)) {
				t.Error(err)
			}
			for _, x := range []Attachment{attached, a.Attachment} {
				leave(t, h, x, "")
			}
		})
	}
}

// fill appends to a file until its file system is full, and gives some pages back.
func fill(t *testing.T, file string, spare int) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	page, n := make([]byte, os.Getpagesize()), int64(0)
	for ; err == nil; n++ {
		_, err = f.Write(page)
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	if err := f.Truncate(max(0, n-1-int64(spare)) * int64(len(page))); err != nil {
		t.Fatal(err)
	}
}

// Four networks, all of which want to be the way out: the first is.
func TestNetworksWithTheSameRoutes(t *testing.T) {
	h := lab(t)
	out := netlab.NewOutside(t, "uplink0")
	serve(t, out, ":80")
	confs := map[string]string{"n0": "", "n1": "", "n2": ""}
	for n := range confs {
		confs[n] = fmt.Sprintf(`{"type": "gantry-ptp", "ipMasq": true, "ipam": {"type": "gantry-leases", "ranges": [[{"subnet": "10.8%[1]s.0.0/24"}], [{"subnet": "fd00:8%[1]s::/64"}]],
			"routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}, {"dst": "198.51.100.0/24"}]}}`, n[1:])
	}
	src := ptpNetworks(t, confs)
	p := start(t, h, attachment(t, "pod-a", "default"))
	for i, n := range []string{"n0", "n1", "n2"} {
		a := attachmentFrom(t, src, "pod-a", n)
		a.IfName = fmt.Sprintf("eth%d", i+1)
		res, err := h.Attach(t.Context(), a, p.Path())
		if err != nil {
			t.Fatalf("%s: %v", n, err)
		}
		t.Cleanup(func() {
			leave(t, h, a, "")
		})
		if err := h.Check(t.Context(), a, p.Path()); err != nil {
			t.Error(err)
		}
		serve(t, p, hostPort(res.IPs[0].Address.Addr(), 80))
		reaches(t, onHost{}, hostPort(res.IPs[0].Address.Addr(), 80), res.IPs[0].Gateway.String())
	}
	reaches(t, p, hostPort(out.IP4, 80), out.Host4.String())
	reaches(t, p, hostPort(out.IP6, 80), out.Host6.String())
	for family, way := range map[string]string{"-4": "dev eth0", "-6": "dev eth0"} {
		if got := p.Run("ip", family, "route", "get", map[string]string{"-4": "203.0.113.1", "-6": "2001:db8:1::1"}[family]); !strings.Contains(got, way) {
			t.Errorf("the way out is %s", got)
		}
	}
	if got := p.Run("ip", "route", "get", "198.51.100.1"); !strings.Contains(got, "dev eth1") {
		t.Errorf("the way that only the others have is %s", got)
	}
}

// Two networks of one subnet: the second pod with an address is refused, and the first one keeps its packets.
func TestNetworksOfTheSameSubnet(t *testing.T) {
	h := lab(t)
	same := `{"type": "gantry-ptp", "ipam": {"type": "gantry-leases", "ranges": [[{"subnet": "10.80.0.0/24"}], [{"subnet": "fd00:80::/64"}]]}}`
	src := ptpNetworks(t, map[string]string{"n0": same, "n1": same})
	p := start(t, h, attachmentFrom(t, src, "pod-a", "n0"))
	serve(t, p, ":80")
	_, err := h.Attach(t.Context(), attachmentFrom(t, src, "pod-b", "n1"), netlab.New(t).Path())
	if want := p.res.HostIfName + " has the address, of a pod of another network: their subnets overlap"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("attach: %v, want %q", err, want)
	}
	reaches(t, onHost{}, hostPort(p.ip4(), 80), "10.80.0.1")
	reaches(t, onHost{}, hostPort(p.ip6(), 80), "fd00:80::1")
}

// A network whose leases move to another directory while it has pods would hand out their addresses again.
func TestLeasesMoveToAnotherDirectory(t *testing.T) {
	h := lab(t)
	etc, one, two := t.TempDir(), t.TempDir(), t.TempDir()
	leasesIn := func(dir string) conf.Source {
		if dir != "" {
			dir = fmt.Sprintf(`"dataDir": %q,`, dir)
		}
		return written(t, etc, `{"type": "gantry-ptp", "ipMasq": true, "ipam": {"type": "gantry-leases", `+dir+` "ranges": [[{"subnet": "10.71.0.0/24"}], [{"subnet": "fd00:71::/64"}]]}}`)
	}
	for _, move := range [][2]string{{"", one}, {one, two}, {two, ""}} {
		a := start(t, h, attachmentFrom(t, leasesIn(move[0]), "pod-a", "n"))
		b := start(t, h, attachmentFrom(t, leasesIn(move[0]), "pod-b", "n"))
		serve(t, a, ":80")
		late := attachmentFrom(t, leasesIn(move[1]), "pod-c", "n")
		ns := netlab.New(t)
		if _, err := h.Attach(t.Context(), late, ns.Path()); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("in another dataDir, %q: end them first", move[0])) {
			t.Fatalf("leases of two directories: %v", err)
		}
		reaches(t, b, hostPort(a.ip4(), 80), b.ip4().String())
		reaches(t, b, hostPort(a.ip6(), 80), b.ip6().String())
		for _, p := range []*pod{a, b} {
			detach(t, h, p, p.Path())
			p.Close()
		}
		c := start(t, h, late)
		detach(t, h, c, c.Path())
		c.Close()
	}
}

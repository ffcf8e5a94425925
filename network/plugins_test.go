package network

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"github.com/gantryrun/gantry/network/conf"
	"github.com/gantryrun/gantry/network/netlab"
	"github.com/gantryrun/gantry/tests/await"
)

// pluginCase is a network of programs of containernetworking/plugins. In the configuration, DATA is host-local's directory; uplink0
// is the host's cable to a neighbour, who has 192.0.2.2.
type pluginCase struct {
	plugins string // the list's plugins
	args    string // after the network's name
	needs   string // of the kernel: a kind of link, or address translation
	ip      string // that the pod then has; empty: any
	asked   string // who reaches the pod: host, neighbour, nobody
	inside  string // a command in the pod that must succeed
	version string // default 1.1.0
	list    string // further keys of the list
}

const hostLocal = `"ipam": {"type": "host-local", "subnet": "10.20.0.0/24", "dataDir": "DATA", "routes": [{"dst": "0.0.0.0/0"}]}`

var pluginCases = map[string]pluginCase{
	"bridge": {plugins: `{"type": "bridge", "bridge": "lab-br0", "isGateway": true, ` + hostLocal + `}`, ip: "10.20.0.2", asked: "host"},
	"bridge, masqueraded, with portmap and firewall": {needs: "nat", plugins: `{"type": "bridge", "bridge": "lab-br0", "isGateway": true, "ipMasq": true, ` + hostLocal + `},
		{"type": "portmap", "capabilities": {"portMappings": true}, "backend": "nftables"}, {"type": "firewall", "backend": "iptables"}`, ip: "10.20.0.2", asked: "host"},
	"ptp, masqueraded":                {needs: "nat", plugins: `{"type": "ptp", "ipMasq": true, ` + hostLocal + `}, {"type": "firewall", "backend": "iptables"}`, ip: "10.20.0.2", asked: "host"},
	"bridge, MAC address checked":     {needs: "bridge rules", plugins: `{"type": "bridge", "bridge": "lab-br0", "isGateway": true, "macspoofchk": true, ` + hostLocal + `}`, ip: "10.20.0.2", asked: "host"},
	"bridge, masqueraded by nftables": {needs: "nat", plugins: `{"type": "bridge", "bridge": "lab-br0", "isGateway": true, "ipMasq": true, "ipMasqBackend": "nftables", ` + hostLocal + `}`, ip: "10.20.0.2", asked: "host"},
	"ptp":                             {plugins: `{"type": "ptp", ` + hostLocal + `}`, ip: "10.20.0.2", asked: "host"},
	"ptp, CNI 0.3.0":                  {plugins: `{"type": "ptp", ` + hostLocal + `}`, ip: "10.20.0.2", asked: "host", version: "0.3.0"},
	"ptp, CNI 0.3.1":                  {plugins: `{"type": "ptp", ` + hostLocal + `}`, ip: "10.20.0.2", asked: "host", version: "0.3.1"},
	"ptp, CNI 0.4.0":                  {plugins: `{"type": "ptp", ` + hostLocal + `}`, ip: "10.20.0.2", asked: "host", version: "0.4.0"},
	"ptp, CNI 1.0.0":                  {plugins: `{"type": "ptp", ` + hostLocal + `}`, ip: "10.20.0.2", asked: "host", version: "1.0.0"},
	"bandwidth":                       {plugins: `{"type": "ptp", ` + hostLocal + `}, {"type": "bandwidth", "capabilities": {"bandwidth": true}}`, args: ":INGRESS=10M;EGRESS=5M", needs: "ifb", asked: "host"},
	"tuning":                          {plugins: `{"type": "ptp", ` + hostLocal + `}, {"type": "tuning", "capabilities": {"mac": true}, "sysctl": {"net.ipv4.conf.IFNAME.log_martians": "1"}, "mtu": 1400}`, args: ":MAC=02:00:00:00:00:55", asked: "host", inside: "ip link show dev eth0 | grep -q 'mtu 1400' && ip link show dev eth0 | grep -q 02:00:00:00:00:55"},
	"macvlan":                         {plugins: `{"type": "macvlan", "master": "uplink0", "ipam": {"type": "host-local", "subnet": "192.0.2.0/24", "dataDir": "DATA"}}`, args: ":IP=192.0.2.50", needs: "macvlan", ip: "192.0.2.50", asked: "neighbour"},
	"macvlan, static":                 {plugins: `{"type": "macvlan", "master": "uplink0", "capabilities": {"ips": true}, "ipam": {"type": "static"}}`, args: ":IP=192.0.2.51/24", needs: "macvlan", ip: "192.0.2.51", asked: "neighbour"},
	"macvlan, dhcp":                   {plugins: `{"type": "macvlan", "master": "uplink0", "ipam": {"type": "dhcp"}}`, needs: "macvlan", inside: "ip addr show dev eth0 | grep -q 'inet 192.0.2.[789][0-9]'", asked: "neighbour"},
	"ipvlan":                          {plugins: `{"type": "ipvlan", "master": "uplink0", "ipam": {"type": "host-local", "subnet": "192.0.2.0/24", "rangeStart": "192.0.2.60", "dataDir": "DATA"}}`, needs: "ipvlan", ip: "192.0.2.60", asked: "neighbour"},
	"vlan":                            {plugins: `{"type": "vlan", "master": "uplink0", "vlanId": 7, "ipam": {"type": "host-local", "subnet": "10.7.0.0/24", "dataDir": "DATA"}}`, needs: "vlan", ip: "10.7.0.2", asked: "nobody"},
	"dummy":                           {plugins: `{"type": "dummy", "ipam": {"type": "host-local", "subnet": "10.8.0.0/24", "dataDir": "DATA"}}`, needs: "dummy", ip: "10.8.0.2", asked: "nobody"},
	"host-device":                     {plugins: `{"type": "host-device", "device": "spare0", "ipam": {"type": "static", "addresses": [{"address": "10.9.0.2/24"}]}}`, ip: "10.9.0.2", asked: "nobody"},
	"tap":                             {plugins: `{"type": "tap", ` + hostLocal + `}`, needs: "tuntap", ip: "10.20.0.2", asked: "nobody"},
	"loopback":                        {plugins: `{"type": "loopback"}`, asked: "nobody", inside: "ip addr show dev lo | grep -q 127.0.0.1"},
	// vrf and sbr move routes away from where the CHECK of others looks for them: such lists say disableCheck.
	"vrf": {plugins: `{"type": "macvlan", "master": "uplink0", "ipam": {"type": "static", "addresses": [{"address": "192.0.2.52/24"}]}}, {"type": "vrf", "vrfname": "red"}`, needs: "vrf", ip: "192.0.2.52", asked: "nobody", list: `"disableCheck": true,`, inside: "ip link show master red | grep -q eth0"},
	"sbr": {plugins: `{"type": "ptp", ` + hostLocal + `}, {"type": "sbr"}`, ip: "10.20.0.2", asked: "host", list: `"disableCheck": true,`, inside: "ip route show table 100 | grep -q default"},
}

// Every plugin that the kernel has the device for: attach, talk, CHECK, detach as the supervisor does, and again without the namespace as
// gc does; then nothing is left.
func TestPlugins(t *testing.T) {
	netlab.Require(t)
	dir := pluginDir(t, "./plugins/main/bridge", "./plugins/main/ptp", "./plugins/main/macvlan", "./plugins/main/ipvlan", "./plugins/main/vlan",
		"./plugins/main/host-device", "./plugins/main/loopback", "./plugins/main/dummy", "./plugins/main/tap", "./plugins/meta/tuning", "./plugins/meta/portmap",
		"./plugins/meta/firewall", "./plugins/meta/bandwidth", "./plugins/meta/vrf", "./plugins/meta/sbr", "./plugins/ipam/host-local", "./plugins/ipam/static", "./plugins/ipam/dhcp")
	for name, test := range pluginCases {
		t.Run(name, func(t *testing.T) {
			if test.needs != "" && !canMake(test.needs) {
				t.Skipf("the kernel does not have %s", test.needs)
			}
			h := lab(t)
			h.PluginDirs = []string{dir}
			out := netlab.NewOutside(t, "uplink0")
			furnish(t, test, out)
			before := strings.Join(linkNames(t), " ")
			h.usePlugins(t, test, out)
			await.Success(t, "the links to be as before", func() error {
				now := strings.Join(linkNames(t), " ")
				if now = strings.TrimSpace(strings.ReplaceAll(now, "lab-br0", "")); now != before {
					return fmt.Errorf("before %q, now %q", before, now)
				}
				return nil
			})
		})
	}
}

// furnish makes what the case expects of the host: a spare device, a DHCP server of the neighbour's.
func furnish(t *testing.T, test pluginCase, out *netlab.Outside) {
	t.Helper()
	t.Cleanup(func() {
		for _, l := range []string{"lab-br0", "spare0"} {
			_ = exec.Command("ip", "link", "del", l).Run()
		}
		_ = exec.Command("nft", "flush", "ruleset").Run()
	})
	if strings.Contains(test.plugins, "spare0") {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "spare0"
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "spare1"}); err != nil {
			t.Fatal(err)
		}
	}
	if strings.Contains(test.plugins, "dhcp\"}") {
		serveDHCP(t, out)
	}
}

// serveDHCP hands out 192.0.2.77 and what follows on the neighbour's side of the cable.
func serveDHCP(t *testing.T, out *netlab.Outside) {
	t.Helper()
	dir := t.TempDir()
	config := fmt.Sprintf("start 192.0.2.77\nend 192.0.2.99\ninterface eth0\nlease_file %s/leases\npidfile %s/pid\noption subnet 255.255.255.0\noption lease 600\n", dir, dir)
	if err := os.WriteFile(filepath.Join(dir, "conf"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "leases"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c := exec.Command("busybox", "udhcpd", "-f", filepath.Join(dir, "conf"))
	var err error
	out.Do(func() { err = c.Start() })
	if err != nil {
		t.Fatalf("start busybox udhcpd: %v", err)
	}
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
}

func (h *Host) usePlugins(t *testing.T, test pluginCase, out *netlab.Outside) {
	t.Helper()
	version := test.version
	if version == "" {
		version = "1.1.0"
	}
	etc := t.TempDir()
	list := fmt.Sprintf(`{"cniVersion": %q, "name": "n", %s "plugins": [%s]}`, version, test.list, strings.ReplaceAll(test.plugins, "DATA", h.RunDir+"/leases"))
	if err := os.WriteFile(filepath.Join(etc, "n.conflist"), []byte(list), 0o600); err != nil {
		t.Fatal(err)
	}
	src := conf.Source{Dirs: []string{etc}, PluginDirs: h.PluginDirs}
	if err := h.Status(t.Context(), []byte(list)); err != nil {
		t.Errorf("STATUS: %v", err)
	}
	var ports []string
	if strings.Contains(test.plugins, "portMappings") {
		ports = []string{"8080:80"}
	}
	p := start(t, h, attachmentFrom(t, src, "pod-a", "n"+test.args, ports...))
	if test.ip != "" && p.ip4().String() != test.ip {
		t.Errorf("address %s, want %s", p.ip4(), test.ip)
	}
	serve(t, p, ":80")
	from := map[string]doer{"host": onHost{}, "neighbour": out}[test.asked]
	if from != nil {
		if _, err := ask(from, hostPort(p.ip4(), 80), patience); err != nil {
			t.Error(err)
		}
	}
	if ports != nil {
		if _, err := ask(out, net.JoinHostPort(out.Host4.String(), "8080"), patience); err != nil {
			t.Errorf("published port: %v", err)
		}
	}
	if test.inside != "" {
		p.Run("sh", "-c", test.inside)
	}
	registered, err := h.Register()
	if err != nil || len(registered) != 1 {
		t.Fatalf("register: %v, %v", registered, err)
	}
	if err := h.Check(t.Context(), registered[0].Attachment, registered[0].NetNS); err != nil {
		t.Errorf("CHECK: %v", err)
	}
	if err := h.Collect(t.Context(), [][]byte{p.Conflist}, nil); err != nil {
		t.Errorf("GC: %v", err)
	}
	if from != nil { // it was a valid attachment
		if _, err := ask(from, hostPort(p.ip4(), 80), patience); err != nil {
			t.Errorf("after GC: %v", err)
		}
	}
	detach(t, h, p, p.Path())
	p.Close()
	await.Success(t, "the daemon that was killed to be gone", func() error {
		if left := processes(t, "dhcp"); left != nil {
			return fmt.Errorf("left: %v", left)
		}
		return nil
	})
	if err := h.Detach(context.Background(), p.Attachment, ""); err != nil {
		t.Errorf("DEL again, without the namespace: %v", err)
	}
	if strings.Contains(test.plugins, "spare0") { // the kernel takes a virtual device away with the namespace
		return
	}
	rules := uncounted(t)
	for _, how := range []string{"DEL without the namespace", "DEL without the namespace and the result", "DEL after one that was killed, without the result"} {
		killed := start(t, h, p.Attachment)
		killed.Close()
		if strings.Contains(how, "result") { // the supervisor was killed before ADD of the last plugin was over
			if err := os.Remove(h.resultFile(p.Attachment)); err != nil {
				t.Error(err)
			}
		}
		if strings.Contains(how, "killed") { // when it had given the lease back, and done nothing else
			list, err := p.list()
			if err == nil {
				_, err = h.formerResult(p.Attachment, list)
			}
			if err != nil {
				t.Error(err)
			}
			_ = os.Remove(filepath.Join(h.RunDir, "leases", "n", killed.ip4().String()))
		}
		if err := h.Detach(context.Background(), p.Attachment, ""); err != nil {
			t.Errorf("%s: %v", how, err)
		}
		if diff := cmp.Diff(rules, uncounted(t)); diff != "" {
			t.Errorf("%s leaves rules:\n%s", how, diff)
		}
	}
}

var counter = regexp.MustCompile(`counter packets \d+ bytes \d+`)

// uncounted is everybody's rules.
func uncounted(t *testing.T) string { return counter.ReplaceAllString(ruleset(t), "counter") }

func linkNames(t *testing.T) []string {
	t.Helper()
	links, err := whole(netlink.LinkList)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, l := range links {
		out = append(out, l.Attrs().Name)
	}
	return out
}

// canMake tries whether the kernel has what a case needs.
func canMake(kind string) bool {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "probe0"
	var l netlink.Link
	switch kind {
	case "nat":
		defer func() { _ = exec.Command("nft", "delete", "table", "ip", "probe").Run() }()
		return exec.Command("nft", "add table ip probe; add chain ip probe nat { type nat hook prerouting priority 0; }").Run() == nil
	case "bridge rules":
		defer func() { _ = exec.Command("nft", "delete", "table", "bridge", "probe").Run() }()
		return exec.Command("nft", "add table bridge probe; add chain bridge probe hook { type filter hook prerouting priority 0; }").Run() == nil
	case "tuntap":
		_, err := os.Stat("/dev/net/tun")
		return err == nil
	case "macvlan", "ipvlan", "vlan":
		parent := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "probe1"}}
		if err := netlink.LinkAdd(parent); err != nil {
			return false
		}
		defer func() { _ = netlink.LinkDel(parent) }()
		attrs.ParentIndex = parent.Attrs().Index
		l = map[string]netlink.Link{"macvlan": &netlink.Macvlan{LinkAttrs: attrs}, "ipvlan": &netlink.IPVlan{LinkAttrs: attrs}, "vlan": &netlink.Vlan{LinkAttrs: attrs, VlanId: 7}}[kind]
	case "dummy":
		l = &netlink.Dummy{LinkAttrs: attrs}
	case "ifb":
		l = &netlink.Ifb{LinkAttrs: attrs}
	case "vrf":
		l = &netlink.Vrf{LinkAttrs: attrs, Table: 77}
	}
	if err := netlink.LinkAdd(l); err != nil {
		return false
	}
	_ = netlink.LinkDel(l)
	return true
}

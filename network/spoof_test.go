package network

import (
	"encoding/binary"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/network/conf"
	"github.com/gantryrun/gantry/network/netlab"
)

// advertise sends a router advertisement with a lifetime and a prefix (RFC 4861, 4.2), as a pod with CAP_NET_RAW could.
func advertise(t *testing.T, p *pod) {
	t.Helper()
	ra := make([]byte, 16, 48)
	ra[0], ra[4] = 134, 64
	binary.BigEndian.PutUint16(ra[6:], 1800)
	prefix := make([]byte, 32)
	prefix[0], prefix[1], prefix[2], prefix[3] = 3, 4, 64, 0xc0
	binary.BigEndian.PutUint32(prefix[4:], 3600)
	binary.BigEndian.PutUint32(prefix[8:], 3600)
	copy(prefix[16:], net.ParseIP("2001:db8:bad::"))
	var err error
	p.Do(func() {
		var fd int
		if fd, err = unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMPV6); err != nil {
			return
		}
		defer func() { _ = unix.Close(fd) }()
		var iface *net.Interface
		if iface, err = net.InterfaceByName("eth0"); err != nil {
			return
		}
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 255) // others are not believed
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, iface.Index)
		to := &unix.SockaddrInet6{ZoneId: uint32(iface.Index)}
		copy(to.Addr[:], net.ParseIP("ff02::1"))
		for range 3 {
			if err = unix.Sendto(fd, append(ra, prefix...), 0, to); err != nil {
				return
			}
		}
	})
	if err != nil {
		t.Fatalf("send router advertisement: %v", err)
	}
}

// A pod makes itself nobody's router (CVE-2020-10749, CVE-2020-13401): not the host's, even where the host listens to routers on new
// interfaces, and not its neighbours' on a bridge.
func TestRouterAdvertisementsAreNotBelieved(t *testing.T) {
	netlab.Require(t)
	dir := pluginDir(t, "./plugins/main/bridge", "./plugins/ipam/host-local")
	h := lab(t)
	h.PluginDirs = []string{dir}
	t.Cleanup(func() { _ = exec.Command("ip", "link", "del", "lab-br0").Run() })
	for _, name := range []string{"ipv6/conf/default/accept_ra", "ipv6/conf/all/accept_ra"} {
		was, err := readSysctl(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := writeSysctl(name, "2"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = writeSysctl(name, was) })
	}
	etc := t.TempDir()
	bridge := `{"cniVersion": "1.0.0", "name": "lan", "plugins": [{"type": "bridge", "bridge": "lab-br0", "isGateway": true,
		"ipam": {"type": "host-local", "dataDir": "` + h.RunDir + `/leases", "ranges": [[{"subnet": "10.20.0.0/24"}], [{"subnet": "fd00:20::/64"}]]}}]}`
	if err := os.WriteFile(filepath.Join(etc, "lan.conflist"), []byte(bridge), 0o600); err != nil {
		t.Fatal(err)
	}
	src := conf.Source{Dirs: []string{etc}, PluginDirs: h.PluginDirs}
	ptp := start(t, h, attachment(t, "pod-a", "default"))
	evil := start(t, h, attachmentFrom(t, src, "pod-b", "lan"))
	victim := start(t, h, attachmentFrom(t, src, "pod-c", "lan"))
	credulous := netlab.New(t) // shows that the packets are such as are believed
	if out, err := exec.Command("sh", "-ec", "ip link add probe0 type veth peer name probe1; ip link set probe0 master lab-br0 up").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("ip", "link", "del", "probe0").Run() })
	if out, err := exec.Command("ip", "link", "set", "probe1", "netns", credulous.Path()).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	credulous.Do(func() {
		if err := writeSysctl("ipv6/conf/probe1/accept_ra", "2"); err != nil {
			t.Error(err)
		}
	})
	credulous.Run("ip", "link", "set", "probe1", "up")
	hostBefore := routes6(t, onHost{})
	believed := func() bool { return strings.Contains(routes6(t, credulous), "2001:db8:bad::") }
	for deadline := time.Now().Add(patience); !believed() && time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		advertise(t, evil)
		advertise(t, ptp)
	}
	if !believed() {
		t.Error("nobody believes these advertisements: the test shows nothing")
	}
	for who, where := range map[string]doer{"the neighbour": victim, "the host": onHost{}} {
		got := routes6(t, where)
		if who == "the host" {
			for _, line := range strings.Split(hostBefore, "\n") {
				got = strings.ReplaceAll(got, line, "")
			}
			got = strings.Join(linesOf(got, rulesLink(ptp)), "\n")
		}
		if strings.Contains(got, "2001:db8:bad::") || strings.Contains(got, "proto ra") {
			t.Errorf("%s believes a pod to be a router:\n%s", who, got)
		}
	}
}

func rulesLink(p *pod) string { return p.res.HostIfName }

// linesOf keeps the routes by an interface: what a bridge of another program's accepts is that program's matter.
func linesOf(routes, link string) []string {
	var out []string
	for line := range strings.Lines(routes) {
		if strings.Contains(line, "dev "+link) {
			out = append(out, line)
		}
	}
	return out
}

func routes6(t *testing.T, where doer) string {
	t.Helper()
	var out []byte
	var err error
	where.Do(func() { out, err = exec.Command("ip", "-6", "route").CombinedOutput() })
	if err != nil {
		t.Errorf("ip -6 route: %v\n%s", err, out)
	}
	return string(out)
}

// claim sends gratuitous ARP answers that give p the address ip, from its own interface.
func claim(t *testing.T, p *pod, ip net.IP) {
	t.Helper()
	var err error
	p.Do(func() {
		var iface *net.Interface
		if iface, err = net.InterfaceByName("eth0"); err != nil {
			return
		}
		arp := []byte{0, 1, 8, 0, 6, 4, 0, 2} // Ethernet, IPv4, an answer
		arp = append(append(arp, iface.HardwareAddr...), ip.To4()...)
		arp = append(append(arp, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), ip.To4()...)
		var fd int
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return
		}
		defer func() { _ = unix.Close(fd) }()
		to := &unix.SockaddrLinklayer{Protocol: 0x0608, Ifindex: iface.Index, Halen: 6, Addr: [8]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}
		for range 5 {
			if err = unix.Sendto(fd, arp, 0, to); err != nil {
				return
			}
		}
	})
	if err != nil {
		t.Fatalf("send ARP: %v", err)
	}
}

// Who claims a neighbour's address, or the gateway's, gets none of their packets.
func TestARPClaimsChangeNothing(t *testing.T) {
	h := lab(t)
	out := netlab.NewOutside(t, "uplink0")
	a := start(t, h, attachment(t, "pod-a", "default"))
	b := start(t, h, attachment(t, "pod-b", "default"))
	c := start(t, h, attachment(t, "pod-c", "default"))
	serve(t, b, ":80")
	serve(t, out, ":80")
	a.Run("ip", "addr", "add", b.ip4().String()+"/32", "dev", "eth0")
	serveAs(t, a, b.ip4().String()+":80", func(net.Conn) string { return "the liar" })
	gw := net.IP(a.res.IPs[0].Gateway.AsSlice())
	for range 3 {
		for _, ip := range []net.IP{net.IP(b.ip4().AsSlice()), net.IP(c.ip4().AsSlice()), gw, out.IP4} {
			claim(t, a, ip)
		}
		reaches(t, onHost{}, hostPort(b.ip4(), 80), gw.String())
		reaches(t, c, hostPort(b.ip4(), 80), c.ip4().String())
		reaches(t, c, hostPort(out.IP4, 80), out.Host4.String())
	}
}

// What other tools have on the host is theirs: their tables, old and new, their leases, their links.
func TestNothingOfOthersIsTouched(t *testing.T) {
	h := lab(t)
	sh := func(command string) string {
		t.Helper()
		out, err := exec.Command("sh", "-ec", command).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
		return string(out)
	}
	t.Cleanup(func() {
		sh("nft flush ruleset; iptables-legacy -t nat -F; iptables-legacy -t nat -X; ip link del cni-podman0")
	})
	sh(`iptables-nft -t nat -N NETAVARK-HOSTPORT-DNAT; iptables-nft -t nat -A PREROUTING -j NETAVARK-HOSTPORT-DNAT
		iptables-nft -t nat -A NETAVARK-HOSTPORT-DNAT -p tcp --dport 9999 -j DNAT --to 10.88.0.2:80
		iptables-nft -N DOCKER-USER; iptables-nft -A FORWARD -j DOCKER-USER
		iptables-legacy -t nat -N CNI-HOSTPORT; iptables-legacy -t nat -A PREROUTING -j CNI-HOSTPORT
		nft add table inet netavark; nft add chain inet netavark forward '{ type filter hook forward priority 0; }'
		nft add table ip gantryish; nft add table ip6 gantry
		ip link add cni-podman0 type bridge; ip addr add 10.88.0.1/16 dev cni-podman0`)
	other := filepath.Join(t.TempDir(), "networks/podman")
	if err := os.MkdirAll(other, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(other, "10.88.0.2"), []byte("somebody\r\neth0"), 0o600); err != nil {
		t.Fatal(err)
	}
	picture := func() string {
		return sh("nft -s list ruleset | awk '/^table inet gantry /{skip=1} !skip{print} /^}/{skip=0}'; iptables-legacy-save -t nat | grep -v '^[#:]'; ip addr show dev cni-podman0 | grep -v forever; ls " + other)
	}
	before := picture()
	a := start(t, h, attachment(t, "pod-a", "default", "8080:80"))
	examine(t, h, true, a)
	sh("nft flush table inet gantry")
	examine(t, h, true, a)
	if now := picture(); now != before {
		t.Errorf("with a pod, before:\n%s\nnow:\n%s", before, now)
	}
	detach(t, h, a, a.Path())
	a.Close()
	if err := h.Collect(t.Context(), [][]byte{a.Conflist}, nil); err != nil {
		t.Error(err)
	}
	if err := h.Reset(true); err != nil {
		t.Error(err)
	}
	if now := picture(); now != before {
		t.Errorf("without pods, before:\n%s\nnow:\n%s", before, now)
	}
}

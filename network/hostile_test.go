package network

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/network/netlab"
)

// sendICMP sends a message of ICMP, or of ICMPv6, from a pod's eth0, as a pod with CAP_NET_RAW could.
func sendICMP(t *testing.T, p *pod, to netip.Addr, message []byte) {
	t.Helper()
	var err error
	p.Do(func() {
		var iface *net.Interface
		if iface, err = net.InterfaceByName("eth0"); err != nil {
			return
		}
		family, protocol, dst := unix.AF_INET, unix.IPPROTO_ICMP, unix.Sockaddr(&unix.SockaddrInet4{Addr: v4Bytes(to)})
		if to.Is6() {
			family, protocol, dst = unix.AF_INET6, unix.IPPROTO_ICMPV6, &unix.SockaddrInet6{Addr: to.As16(), ZoneId: uint32(iface.Index)}
		}
		var fd int
		if fd, err = unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol); err != nil {
			return
		}
		defer func() { _ = unix.Close(fd) }()
		if to.Is6() { // others are not believed
			_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 255)
			_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, 255)
			_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, iface.Index)
		} else { // for ICMPv6 the kernel does it
			sum := 0
			for i := 0; i+1 < len(message); i += 2 {
				sum += int(message[i])<<8 | int(message[i+1])
			}
			for sum>>16 != 0 {
				sum = sum&0xffff + sum>>16
			}
			message[2], message[3] = ^byte(sum>>8), ^byte(sum)
		}
		for range 3 {
			if err = unix.Sendto(fd, message, 0, dst); err != nil {
				return
			}
		}
	})
	if err != nil {
		t.Fatalf("send ICMP to %s: %v", to, err)
	}
}

// advertisement claims an address for a pod (RFC 4861, 4.4): solicited, and to override what is known.
func advertisement(p *pod, claimed netip.Addr) []byte {
	mac, _ := net.ParseMAC(p.res.MAC)
	m := append([]byte{136, 0, 0, 0, 0x60, 0, 0, 0}, claimed.AsSlice()...)
	return append(append(m, 2, 1), mac...)
}

// redirect tells who is asked to send what is for an address to the pod instead (RFC 792; RFC 4861, 4.5).
func redirect(p *pod, dst, asked netip.Addr) []byte {
	if dst.Is4() {
		m := append([]byte{5, 1, 0, 0}, p.ip4().AsSlice()...)
		m = append(m, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, unix.IPPROTO_UDP, 0, 0)
		m = append(append(m, asked.AsSlice()...), dst.AsSlice()...)
		return append(m, make([]byte, 8)...)
	}
	return append(append([]byte{137, 0, 0, 0, 0, 0, 0, 0}, p.ip6().AsSlice()...), dst.AsSlice()...)
}

// A pod that claims its neighbours' addresses, redirects its host, or changes its MAC address, gets nobody else's packets.
func TestHostilePodGetsNobodysPackets(t *testing.T) {
	h := lab(t)
	out := netlab.NewOutside(t, "uplink0")
	liar := start(t, h, attachment(t, "pod-a", "default"))
	b := start(t, h, attachment(t, "pod-b", "default"))
	c := start(t, h, attachment(t, "pod-c", "default"))
	for _, link := range []string{"all", "default", liar.res.HostIfName, "uplink0"} { // the most credulous of hosts
		for name, value := range map[string]string{"ipv4/conf/LINK/accept_redirects": "1", "ipv6/conf/LINK/accept_redirects": "1", "ipv4/conf/LINK/secure_redirects": "0"} {
			name = strings.ReplaceAll(name, "LINK", link)
			was, err := readSysctl(name)
			if err != nil {
				t.Fatal(err)
			}
			if err := writeSysctl(name, value); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = writeSysctl(name, was) })
		}
	}
	serve(t, b, ":80")
	serve(t, out, ":80")
	out4, _ := netip.AddrFromSlice(out.IP4.To4())
	out6, _ := netip.AddrFromSlice(out.IP6)
	gw4, gw6 := liar.res.IPs[0].Gateway, liar.res.IPs[1].Gateway
	all6 := netip.MustParseAddr("ff02::1")
	for _, ip := range []netip.Addr{b.ip4(), out4} {
		liar.Run("ip", "addr", "add", ip.String()+"/32", "dev", "lo")
		serveAs(t, liar, hostPort(ip, 80), func(net.Conn) string { return "the liar" })
	}
	for _, ip := range []netip.Addr{b.ip6(), out6} {
		liar.Run("ip", "addr", "add", ip.String()+"/128", "dev", "eth0", "nodad")
		serveAs(t, liar, hostPort(ip, 80), func(net.Conn) string { return "the liar" })
	}
	check := func(when string) {
		t.Helper()
		reaches(t, onHost{}, hostPort(b.ip4(), 80), gw4.String())
		reaches(t, onHost{}, hostPort(b.ip6(), 80), gw6.String())
		reaches(t, c, hostPort(b.ip4(), 80), c.ip4().String())
		reaches(t, c, hostPort(b.ip6(), 80), c.ip6().String())
		reaches(t, c, hostPort(out4, 80), out.Host4.String())
		reaches(t, c, hostPort(out6, 80), out.Host6.String())
		reaches(t, onHost{}, hostPort(out4, 80), out.Host4.String())
		if t.Failed() {
			t.Fatalf("after %s", when)
		}
	}
	check("nothing")
	for range 3 {
		for _, claimed := range []netip.Addr{b.ip6(), c.ip6(), gw6, out6} {
			sendICMP(t, liar, all6, advertisement(liar, claimed))
			sendICMP(t, liar, gw6, advertisement(liar, claimed))
		}
		check("neighbour advertisements")
		for _, dst := range []netip.Addr{b.ip4(), out4} {
			sendICMP(t, liar, gw4, redirect(liar, dst, gw4))
		}
		for _, dst := range []netip.Addr{b.ip6(), out6} {
			sendICMP(t, liar, gw6, redirect(liar, dst, gw6))
		}
		check("redirects")
	}
	liar.Run("ip", "link", "set", "eth0", "address", b.res.MAC)
	check("it took its neighbour's MAC address")
}

// The address at which clouds tell a machine its secrets: a restricted pod does not reach it. One on the default network does, as its host.
func TestMetadataAddress(t *testing.T) {
	h := lab(t)
	out := netlab.NewOutside(t, "uplink0")
	const metadata = "169.254.169.254"
	out.Run("ip", "addr", "add", metadata+"/32", "dev", "lo")
	serve(t, out, metadata+":80")
	restricted := start(t, h, attachment(t, "pod-a", "default-restricted"))
	restricted.Run("ip", "route", "add", "default", "via", restricted.res.IPs[0].Gateway.String())
	blocked(t, restricted, metadata+":80")
	reaches(t, start(t, h, attachment(t, "pod-b", "default")), metadata+":80", out.Host4.String())
}

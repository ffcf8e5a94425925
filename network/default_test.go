package network

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/network/netlab"
)

func TestDefaultNetworkReaches(t *testing.T) {
	h := lab(t)
	out := netlab.NewOutside(t, "uplink0")
	a := start(t, h, attachment(t, "pod-a", "default"))
	b := start(t, h, attachment(t, "pod-b", "default"))
	serve(t, a, ":80")
	serve(t, out, ":80")
	serve(t, onHost{}, ":81")
	gw4, gw6 := a.res.IPs[0].Gateway, a.res.IPs[1].Gateway

	t.Run("pod to pod", func(t *testing.T) {
		reaches(t, b, hostPort(a.ip4(), 80), b.ip4().String())
		reaches(t, b, hostPort(a.ip6(), 80), b.ip6().String())
	})
	t.Run("host to pod", func(t *testing.T) {
		reaches(t, onHost{}, hostPort(a.ip4(), 80), gw4.String())
		reaches(t, onHost{}, hostPort(a.ip6(), 80), gw6.String())
	})
	t.Run("pod to host", func(t *testing.T) {
		reaches(t, a, hostPort(gw4, 81), a.ip4().String())
		reaches(t, a, hostPort(gw6, 81), a.ip6().String())
	})
	t.Run("pod to outside, as the host", func(t *testing.T) {
		reaches(t, a, hostPort(out.IP4, 80), out.Host4.String())
		reaches(t, a, hostPort(out.IP6, 80), out.Host6.String())
	})
	if t.Failed() {
		t.Log(ruleset(t))
	}
}

// The kernel walks all routes of IPv6 as often as a link comes or goes, so a pod adds one to the host's, and no more.
func TestOneRouteOfIPv6(t *testing.T) {
	var kernel unix.Utsname
	var major, minor int
	err := unix.Uname(&kernel)
	if _, scanned := fmt.Sscanf(unix.ByteSliceToString(kernel.Release[:]), "%d.%d", &major, &minor); err != nil || scanned != nil {
		t.Fatal(err, scanned)
	}
	if major < 6 || major == 6 && minor < 8 {
		t.Skipf("skipped: Linux %d.%d may give a link its route for multicast when we have looked", major, minor)
	}
	h := lab(t)
	for _, pod := range []*pod{start(t, h, attachment(t, "pod-a", "default")), start(t, h, attachment(t, "pod-b", "default"))} {
		name := pod.res.HostIfName
		link, err := netlink.LinkByName(name) // since Linux 6.8 the kernel does with this what it still has to do about the carrier
		if err != nil {
			t.Fatal(err)
		}
		routes, err := netlink.RouteListFiltered(netlink.FAMILY_V6, &netlink.Route{LinkIndex: link.Attrs().Index, Table: unix.RT_TABLE_UNSPEC},
			netlink.RT_FILTER_OIF|netlink.RT_FILTER_TABLE)
		if err != nil {
			t.Fatal(err)
		}
		if len(routes) != 1 || !routes[0].Dst.IP.Equal(net.IP(pod.ip6().AsSlice())) {
			t.Errorf("%s has the routes %v", name, routes)
		}
		var own []netlink.Addr
		pod.Do(func() {
			if link, err = netlink.LinkByName("eth0"); err == nil {
				own, err = netlink.AddrList(link, netlink.FAMILY_V6)
			}
		})
		if err != nil || !slices.ContainsFunc(own, func(a netlink.Addr) bool { return a.IP.IsLinkLocalUnicast() }) {
			t.Errorf("the pod has the addresses %v (%v), none of them link-local", own, err)
		}
	}
}

// A network of IPv6 alone: everything works that does with both, and what only IPv4 could do is refused.
func TestIPv6Alone(t *testing.T) {
	h := lab(t)
	out := netlab.NewOutside(t, "uplink0")
	src := written(t, t.TempDir(), `{"type": "gantry-ptp", "ipMasq": true, "ipam": {"type": "gantry-leases", "ranges": [[{"subnet": "fd00:40::/64"}]],
		"routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}}, {"type": "gantry-portmap", "capabilities": {"portMappings": true}}`)
	a := start(t, h, attachmentFrom(t, src, "pod-a", "n:IP=fd00:40::77", "8080:80"))
	b := start(t, h, attachmentFrom(t, src, "pod-b", "n"))
	serve(t, a, ":80")
	serve(t, out, ":80")
	reaches(t, b, "[fd00:40::77]:80", b.ip6().String())
	reaches(t, onHost{}, "[fd00:40::77]:80", "fd00:40::1")
	reaches(t, a, hostPort(out.IP6, 80), out.Host6.String())
	reaches(t, out, hostPort(out.Host6, 8080), out.IP6.String())
	reaches(t, a, hostPort(out.Host6, 8080), "fd00:40::1") // its own, by the host
	if got, err := ask(out, hostPort(out.Host4, 8080), time.Second); err == nil {
		t.Errorf("published on IPv4, to %q", got)
	}
	if got := wrong(examine(t, h, false, a, b)); got != "" {
		t.Error(got)
	}
	ns := netlab.New(t)
	_, err := h.Attach(t.Context(), attachmentFrom(t, src, "pod-c", "n", "127.0.0.1:8081:80"), ns.Path())
	if err == nil || !strings.Contains(err.Error(), "publish port 8081 on 127.0.0.1: the pod has no address of that family") {
		t.Errorf("published on an address of IPv4: %v", err)
	}
}

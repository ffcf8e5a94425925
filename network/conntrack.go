package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/network/rules"
)

// forgetFlows makes the kernel forget the UDP conversations with published ports. The rules are asked for the first packet of a
// conversation only, and a client that goes on within some minutes continues the old one: to the pod that had the port before, or to a
// port of the host that nobody listens on. TCP begins anew by itself. Pods without UDP ports pay nothing.
func forgetFlows(forwards []rules.Forward) error {
	forwards = slices.DeleteFunc(slices.Clone(forwards), func(f rules.Forward) bool { return f.Protocol != "udp" })
	if len(forwards) == 0 {
		return nil
	}
	local, err := localAddrs()
	if err != nil {
		return err
	}
	for _, family := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
		_, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, family, &publishedFlows{forwards, local})
		// A kernel without the interface to conntrack has the same conversations, and no way to end them.
		if err != nil && !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EPROTONOSUPPORT) {
			return fmt.Errorf("end UDP conversations: %w", err)
		}
	}
	return nil
}

func localAddrs() (map[netip.Addr]bool, error) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("list addresses of the host: %w", err)
	}
	local := map[netip.Addr]bool{}
	for _, a := range all {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			local[p.Addr().Unmap()] = true
		}
	}
	return local, nil
}

// publishedFlows matches conversations that began at a published port, or that lead to the pod that publishes it.
type publishedFlows struct {
	forwards []rules.Forward
	local    map[netip.Addr]bool
}

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (p *publishedFlows) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	if flow.Forward.Protocol != unix.IPPROTO_UDP {
		return false
	}
	to, _ := netip.AddrFromSlice(flow.Forward.DstIP)
	to = to.Unmap()
	return slices.ContainsFunc(p.forwards, func(f rules.Forward) bool {
		if f.HostPort != flow.Forward.DstPort || f.HostIP.Is4() != to.Is4() {
			return false
		}
		return f.HostIP == to || f.HostIP.IsUnspecified() && (p.local[to] || to.IsLoopback())
	})
}

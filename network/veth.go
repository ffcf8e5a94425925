package network

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/network/conf"
	"github.com/gantryrun/gantry/network/rules"
)

// veth is a routed pair of interfaces: the pod's end has the address of the pod, the host's end the address of the
// gateway, and a route to the pod's address, and nothing but it, leads to the host's end. There is no bridge.
type veth struct {
	hostName, podName string
	hostMAC, podMAC   net.HardwareAddr
	mtu               int
	group             uint32 // of the host's end: the network
	sharedGateway     bool   // the IPv6 gateway's address is on lo, once for all pods
	gateways          string // the directory that remembers those
	subnets           string // the directory of closeSubnets; empty: they are not closed
	ends              []vethAddr
	routes            []vethRoute
}

type vethAddr struct {
	addr    netip.Prefix // of the pod
	gateway netip.Addr
}

type vethRoute struct {
	dst netip.Prefix
	via netip.Addr
}

// newVeth plans the pair from what IPAM gave.
func newVeth(c *call, pc *ptpConf, r *types100.Result) (*veth, error) {
	v := &veth{hostName: pc.hostLinkName(c), podName: c.ifName, mtu: pc.MTU, group: networkGroup(pc.Name)}
	if pc.IPAM.Type == conf.TypeLeases {
		v.sharedGateway, v.gateways = true, c.gatewayDir()
		if pc.IPMasq || pc.Restricted {
			v.subnets = c.subnetDir()
		}
	}
	sum := sha256.Sum256([]byte("mac " + v.hostName))
	v.hostMAC, v.podMAC = localMAC(sum[:6]), localMAC(sum[6:12])
	if mac := pc.RuntimeConfig.MAC; mac != "" {
		var err error
		if v.podMAC, err = net.ParseMAC(mac); err != nil {
			return nil, err
		}
	}
	for _, ip := range r.IPs {
		p, err := toPrefix(ip.Address)
		if err != nil {
			return nil, err
		}
		gw, ok := netip.AddrFromSlice(ip.Gateway)
		if gw = gw.Unmap(); !ok || gw.Is4() != p.Addr().Is4() {
			return nil, fmt.Errorf("ipam gave address %s without a gateway", p)
		}
		v.ends = append(v.ends, vethAddr{p, gw})
	}
	for _, rt := range r.Routes {
		dst, err := toPrefix(rt.Dst)
		if err != nil {
			return nil, err
		}
		via, ok := netip.AddrFromSlice(rt.GW)
		if !ok {
			via, ok = v.gateway(dst.Addr().Is4())
		}
		if ok { // a route of a family that the pod has no address of goes nowhere
			v.routes = append(v.routes, vethRoute{dst, via.Unmap()})
		}
	}
	return v, v.checkMTU()
}

// checkMTU says what the kernel would not: it switches IPv6 off on an interface with less than 1280 (RFC 8200, 5).
func (v *veth) checkMTU() error {
	least := 68 // of IPv4, RFC 791
	if _, v6 := v.families(); v6 {
		least = 1280
	}
	if v.mtu != 0 && (v.mtu < least || v.mtu > 65535) {
		return fmt.Errorf("mtu %d: want %d to 65535, as the pod's addresses need it", v.mtu, least)
	}
	return nil
}

// localMAC makes six bytes a unicast address that no vendor has assigned.
func localMAC(b []byte) net.HardwareAddr {
	return append(net.HardwareAddr{b[0]&^1 | 2}, b[1:6]...)
}

func (v *veth) gateway(ipv4 bool) (netip.Addr, bool) {
	for _, e := range v.ends {
		if e.gateway.Is4() == ipv4 {
			return e.gateway, true
		}
	}
	return netip.Addr{}, false
}

func (v *veth) families() (v4, v6 bool) {
	_, v4 = v.gateway(true)
	_, v6 = v.gateway(false)
	return v4, v6
}

// create makes the pair, the pod's end directly in its namespace, and configures both ends.
func (v *veth) create(netns string) error {
	ns, err := os.Open(netns)
	if err != nil {
		return fmt.Errorf("open network namespace: %w", err)
	}
	defer func() { _ = ns.Close() }()
	host, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer host.Close()

	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr, attrs.Group = v.hostName, v.mtu, v.hostMAC, v.group
	pair := &netlink.Veth{
		LinkAttrs: attrs, PeerName: v.podName, PeerHardwareAddr: v.podMAC, PeerTxQLen: -1,
		PeerNamespace: netlink.NsFd(int(ns.Fd())),
	}
	err = host.LinkAdd(pair)
	if errors.Is(err, unix.EEXIST) {
		// Left by an attempt of the same pod, whose namespace is still on its way out.
		if err = deleteLink(v.hostName); err == nil {
			err = host.LinkAdd(pair)
		}
	}
	if err != nil {
		return fmt.Errorf("make veth pair %s and %s: %w", v.hostName, v.podName, err)
	}
	if err := v.configureHost(host, pair); err != nil {
		return err
	}
	if err := v.closeSubnets(host, false); err != nil {
		return err
	}
	if err := inNamespace(netns, v.configurePod); err != nil {
		return err
	}
	// The host's end came up before it had a carrier, and drops what it sends until the kernel's link watch has run: the
	// first ARP answer to the pod, say, which asks again after a second. Since Linux 6.8 a query does that work at once.
	if _, err := host.LinkByIndex(pair.Index); err != nil {
		return fmt.Errorf("find %s: %w", v.hostName, err)
	}
	return v.dropMulticast(host, pair.Index)
}

// dropMulticast takes away the route for multicast that IPv6 gives every link when it gets a carrier. Linux keeps those of all links in one list, and
// walks it, and all other routes, whenever a link comes or goes, under the lock that every change of an address needs. Host and pod ask for no neighbour
// by multicast: each is the other's permanent one.
func (v *veth) dropMulticast(nl *netlink.Handle, index int) error {
	if _, v6 := v.families(); !v6 || !v.sharedGateway {
		return nil
	}
	all := toIPNet(netip.MustParsePrefix("ff00::/8"))
	err := nl.RouteDel(&netlink.Route{LinkIndex: index, Dst: &all, Table: unix.RT_TABLE_LOCAL, Type: unix.RTN_MULTICAST})
	if err != nil && !errors.Is(err, unix.ESRCH) { // no carrier yet, if the kernel is older than 6.8
		return fmt.Errorf("delete route for multicast: %w", err)
	}
	return nil
}

// hostLinkSysctls are set before the host's end comes up, where they are not so already: the kernel has who writes disable_ipv6 try again and again,
// all the time, as long as somebody else has the lock of links and addresses, up to 10 ms for the end of a pod.
var hostLinkSysctls = []setting{
	{"/disable_ipv6", "0"},
	{"/accept_ra", "0"}, // a pod must not become the host's router, even where default says that others may
}

// Of IN6_ADDR_GEN_MODE. They are asked for by netlink, which waits for that lock; the sysctl addr_gen_mode tries again and again too.
const (
	// The host's end has no link-local address: Linux keeps the routes to fe80::/64 of all links in one list and walks it, under the lock that
	// every change of an address needs. With 1,000 pods that took 2 ms. The pod is a permanent neighbour instead, which also
	// spares the two seconds that the host cannot ask for it because its link-local address is tentative.
	noLinkLocal = 1
	// The pod's end has one, whatever the host's links have: on some hosts namespaces inherit that.
	linkLocal = 0
)

func (v *veth) configureHost(nl *netlink.Handle, link netlink.Link) error {
	index := link.Attrs().Index
	if _, v6 := v.families(); v6 {
		for _, s := range hostLinkSysctls {
			name := "ipv6/conf/" + v.hostName + s.name
			now, err := readSysctl(name)
			if err == nil && now != s.value {
				err = writeSysctl(name, s.value)
			}
			if err != nil {
				return err
			}
		}
		if err := nl.LinkSetIP6AddrGenMode(link, noLinkLocal); err != nil {
			return fmt.Errorf("keep link-local addresses off %s: %w", v.hostName, err)
		}
	}
	if err := nl.LinkSetUp(link); err != nil {
		return fmt.Errorf("bring up %s: %w", v.hostName, err)
	}
	for _, e := range v.ends {
		on := link
		if v.onLo(e) {
			on = loopback()
			if err := remember(v.gateways, e.gateway.String()); err != nil {
				return err
			}
		}
		err := nl.AddrAdd(on, newAddr(hostPrefix(e.gateway), unix.IFA_F_NOPREFIXROUTE))
		if err != nil && !errors.Is(err, unix.EEXIST) { // it is on lo already, or this is a repair
			return fmt.Errorf("add address %s to %s: %w", e.gateway, on.Attrs().Name, err)
		}
		if err := v.routeToPod(nl, newRoute(index, hostPrefix(e.addr.Addr()), netip.Addr{}, e.gateway)); err != nil {
			return fmt.Errorf("add route to %s: %w", e.addr.Addr(), err)
		}
		if e.gateway.Is6() {
			if err := addNeighbour(nl, index, e.addr.Addr(), v.podMAC); err != nil {
				return err
			}
		}
	}
	return nil
}

// routeToPod replaces a route of the same network: the link of a pod that has just ended and had this address may still be on its way
// out. A pod of another network keeps it: two networks hand out the same address, and would take each other's packets.
func (v *veth) routeToPod(nl *netlink.Handle, route *netlink.Route) error {
	err := nl.RouteAdd(route)
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	family := netlink.FAMILY_V4
	if route.Dst.IP.To4() == nil {
		family = netlink.FAMILY_V6
	}
	have, err := nl.RouteListFiltered(family, &netlink.Route{Dst: route.Dst}, netlink.RT_FILTER_DST)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return err
	}
	for _, r := range have {
		link, err := nl.LinkByIndex(r.LinkIndex)
		if err != nil {
			continue // on its way out
		}
		if a := link.Attrs(); strings.HasPrefix(a.Name, rules.LinkPrefix) && a.Group != v.group {
			return fmt.Errorf("%s has the address, of a pod of another network: their subnets overlap", a.Name)
		}
	}
	return nl.RouteReplace(route)
}

// configurePod gives the pod's end its addresses. Each has the length of its subnet, as people and programs expect, but
// the subnet is reached by the gateway like everything else.
func (v *veth) configurePod(ns *namespace) error {
	link, err := ns.nl.LinkByName(v.podName)
	if err != nil {
		return fmt.Errorf("find %s: %w", v.podName, err)
	}
	if _, v6 := v.families(); v6 {
		if err := ns.nl.LinkSetIP6AddrGenMode(link, linkLocal); err != nil {
			return fmt.Errorf("set the link-local address of %s: %w", v.podName, err)
		}
	}
	if err := ns.nl.LinkSetUp(link); err != nil {
		return fmt.Errorf("bring up %s: %w", v.podName, err)
	}
	index := link.Attrs().Index
	var routes []*netlink.Route
	for _, e := range v.ends {
		if err := ns.nl.AddrAdd(link, newAddr(e.addr, unix.IFA_F_NOPREFIXROUTE)); err != nil {
			return fmt.Errorf("add address %s: %w", e.addr, err)
		}
		if v.onLo(e) {
			// Nobody on the link answers for an address that is on lo.
			if err := addNeighbour(ns.nl, index, e.gateway, v.hostMAC); err != nil {
				return err
			}
		}
		routes = append(routes,
			newRoute(index, hostPrefix(e.gateway), netip.Addr{}, e.addr.Addr()),
			newRoute(index, e.addr.Masked(), e.gateway, e.addr.Addr()))
	}
	for _, r := range v.routes {
		routes = append(routes, newRoute(index, r.dst, r.via, netip.Addr{}))
	}
	for _, r := range routes {
		err := ns.nl.RouteAdd(r)
		if errors.Is(err, unix.EEXIST) { // of a network that the pod has joined before: that one's is used
			r.Priority = laterRoute + index
			err = ns.nl.RouteAdd(r)
		}
		if err != nil {
			return fmt.Errorf("add route to %s: %w", r.Dst, err)
		}
	}
	return nil
}

// laterRoute is more than the metric that IPv6 gives to routes that have none.
const laterRoute = 1024

func addNeighbour(nl *netlink.Handle, index int, ip netip.Addr, mac net.HardwareAddr) error {
	n := &netlink.Neigh{LinkIndex: index, IP: ip.AsSlice(), HardwareAddr: mac, State: netlink.NUD_PERMANENT}
	if err := nl.NeighSet(n); err != nil {
		return fmt.Errorf("add neighbour %s: %w", ip, err)
	}
	return nil
}

// newAddr never lets duplicate address detection delay an IPv6 address: the lease says that there is no duplicate.
func newAddr(p netip.Prefix, flags int) *netlink.Addr {
	n := toIPNet(p)
	if p.Addr().Is6() {
		flags |= unix.IFA_F_NODAD
	}
	return &netlink.Addr{IPNet: &n, Flags: flags}
}

func newRoute(index int, dst netip.Prefix, via, src netip.Addr) *netlink.Route {
	n := toIPNet(dst)
	r := &netlink.Route{LinkIndex: index, Dst: &n, Scope: netlink.SCOPE_LINK}
	if via.IsValid() {
		r.Gw, r.Scope = via.AsSlice(), netlink.SCOPE_UNIVERSE
	}
	if src.IsValid() {
		r.Src = src.AsSlice()
	}
	return r
}

func hostPrefix(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// deleteLink removes the host's end, and with it the pod's. That it is not there is no error. It takes the kernel some 25
// ms, so it is for the cases where no namespace's end does it.
func deleteLink(name string) error {
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer nl.Close()
	link, err := nl.LinkByName(name)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil
	}
	if err == nil {
		err = nl.LinkDel(link)
	}
	if err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("delete link %s: %w", name, err)
	}
	return nil
}

// hasIPv6 says whether the host has IPv6: the kernel may be booted without, or an administrator may have disabled it.
func hasIPv6() bool {
	disabled, err := readSysctl("ipv6/conf/lo/disable_ipv6")
	return err == nil && disabled == "0"
}

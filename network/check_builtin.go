package network

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/network/conf"
	"github.com/gantryrun/gantry/network/rules"
)

// errDamaged says that something of a built-in plugin's is missing that repair can put back.
type errDamaged struct{ error }

func (e errDamaged) Unwrap() error { return e.error }

// errStartAgain says that what is missing comes with a new pod only.
var errStartAgain = errors.New("the pod has to be started again")

// check is CHECK of the built-in plugins: what ADD has made and its result says is still there.
func (c *call) check(ctx context.Context, plugin string) error {
	pc, prev, err := c.confAndResult()
	if err != nil {
		return err
	}
	switch plugin {
	case conf.TypePTP:
		err = c.ptpCheck(ctx, pc, prev)
	case conf.TypePortmap:
		err = c.portmapCheck(&pc.pluginConf, prev)
	default:
		err = c.leasesCheck(prev)
	}
	if err == nil || errors.Is(err, errStartAgain) {
		return err
	}
	return errDamaged{err}
}

// confAndResult is the plugin's configuration, and what its ADD said.
func (c *call) confAndResult() (*ptpConf, *types100.Result, error) {
	var pc ptpConf
	if err := readConf(c.stdin, &pc); err != nil {
		return nil, nil, err
	}
	prev, err := c.prevResult(&pc.PluginConf)
	return &pc, prev, err
}

func (c *call) ptpCheck(ctx context.Context, pc *ptpConf, prev *types100.Result) error {
	name := pc.hostLinkName(c)
	link, err := netlink.LinkByName(name)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return fmt.Errorf("the interface %s is not there: %w", name, errStartAgain)
	}
	if err != nil {
		return fmt.Errorf("find %s: %w", name, err)
	}
	if link.Attrs().OperState == netlink.OperDown {
		return fmt.Errorf("the interface %s is down", name)
	}
	if link.Attrs().Group != networkGroup(pc.Name) {
		return fmt.Errorf("the interface %s is in another group of links", name)
	}
	v, err := newVeth(c, pc, prev)
	if err != nil {
		return err
	}
	for _, e := range v.ends {
		if err := routed(e.addr.Addr(), link); err != nil {
			return err
		}
	}
	if err := v.checkHost(link); err != nil {
		return err
	}
	if err := v.checkSubnets(); err != nil {
		return err
	}
	for _, s := range v.forwarding() {
		if now, err := readSysctl(s.name); err != nil || now != s.value {
			return errors.Join(fmt.Errorf("the host does not forward: net.%s is %q", strings.ReplaceAll(s.name, "/", "."), now), err)
		}
	}
	if err := c.lacks(rules.Elements{Network: v.group}); err != nil {
		return err
	}
	if c.netns != "" {
		if err := inNamespace(c.netns, v.checkPod); err != nil {
			return err
		}
	}
	_, err = c.runIPAM(ctx, pc.IPAM.Type, nil)
	return err
}

// checkHost looks at what else the host's end needs, so that the pod and its gateway find each other.
func (v *veth) checkHost(link netlink.Link) error {
	for _, e := range v.ends {
		on := link
		if v.onLo(e) {
			lo, err := netlink.LinkByName("lo")
			if err != nil {
				return fmt.Errorf("find lo: %w", err)
			}
			on = lo
		}
		addrs, err := whole(func() ([]netlink.Addr, error) { return netlink.AddrList(on, netlink.FAMILY_ALL) })
		if err != nil {
			return fmt.Errorf("list addresses of %s: %w", on.Attrs().Name, err)
		}
		if !slices.ContainsFunc(addrs, func(a netlink.Addr) bool { return a.IP.Equal(e.gateway.AsSlice()) }) {
			return fmt.Errorf("the host has lost the gateway's address %s on %s", e.gateway, on.Attrs().Name)
		}
		if e.gateway.Is4() {
			continue
		}
		neighbours, err := whole(func() ([]netlink.Neigh, error) { return netlink.NeighList(link.Attrs().Index, netlink.FAMILY_V6) })
		if err != nil {
			return fmt.Errorf("list neighbours on %s: %w", link.Attrs().Name, err)
		}
		if !slices.ContainsFunc(neighbours, func(n netlink.Neigh) bool {
			return n.IP.Equal(e.addr.Addr().AsSlice()) && n.State == netlink.NUD_PERMANENT && bytes.Equal(n.HardwareAddr, v.podMAC)
		}) {
			return fmt.Errorf("the host does not know where %s is on %s", e.addr.Addr(), link.Attrs().Name)
		}
	}
	return nil
}

// forwarding are the sysctls without which nothing reaches the pod.
func (v *veth) forwarding() []setting {
	var all []setting
	v4, v6 := v.families()
	if v4 {
		all = append(all, setting{"ipv4/ip_forward", "1"})
	}
	if v6 {
		all = append(all, setting{"ipv6/conf/all/forwarding", "1"})
	}
	return all
}

// routed says whether the host's way to a pod's address is its interface.
func routed(ip netip.Addr, link netlink.Link) error {
	routes, err := netlink.RouteGet(ip.AsSlice())
	if err != nil && !errors.Is(err, unix.ENETUNREACH) && !errors.Is(err, unix.EHOSTUNREACH) {
		return fmt.Errorf("find the route to %s: %w", ip, err)
	}
	if !slices.ContainsFunc(routes, func(r netlink.Route) bool { return r.LinkIndex == link.Attrs().Index }) {
		return fmt.Errorf("the host's route to %s does not lead to %s", ip, link.Attrs().Name)
	}
	return nil
}

// checkPod looks at the pod's end.
func (v *veth) checkPod(ns *namespace) error {
	link, err := ns.nl.LinkByName(v.podName)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return fmt.Errorf("the pod has no %s any more: %w", v.podName, errStartAgain)
	}
	if err != nil {
		return fmt.Errorf("find %s in the pod: %w", v.podName, err)
	}
	addrs, err := whole(func() ([]netlink.Addr, error) { return ns.nl.AddrList(link, netlink.FAMILY_ALL) })
	if err != nil {
		return fmt.Errorf("list addresses of the pod: %w", err)
	}
	for _, e := range v.ends {
		if !slices.ContainsFunc(addrs, func(a netlink.Addr) bool { return a.IP.Equal(e.addr.Addr().AsSlice()) }) {
			return fmt.Errorf("the pod's %s has lost its address %s: %w", v.podName, e.addr, errStartAgain)
		}
	}
	return nil
}

func (c *call) portmapCheck(pc *pluginConf, prev *types100.Result) error {
	ports := pc.RuntimeConfig.PortMappings
	if len(ports) == 0 {
		return nil
	}
	e, err := portElements(ports, resultAddrs(prev))
	if err != nil {
		return err
	}
	if localnet := routeLocalnet(e, prev); localnet != nil {
		if now, err := readSysctl(localnet.name); err != nil || now != localnet.value {
			return errors.Join(fmt.Errorf("127.0.0.1 does not lead to the pod: net.%s is %q", localnet.name, now), err)
		}
	}
	return c.lacks(e)
}

// lacks says what the table does not have of e.
func (c *call) lacks(e rules.Elements) error {
	if damage := c.exec.state.Damage(); damage != "" {
		return errors.New(damage)
	}
	if lacks := c.exec.state.Lacks(e); lacks != nil {
		return errors.New(strings.Join(lacks, ", "))
	}
	return nil
}

func (c *call) leasesCheck(prev *types100.Result) error {
	pc, lc, err := readLeasesConf(c.stdin)
	if err != nil {
		return err
	}
	held, err := c.pool(pc.Name, lc).Held(c.owner())
	if err != nil {
		return err
	}
	for _, a := range resultAddrs(prev) {
		if !slices.Contains(held, a) {
			return fmt.Errorf("the lease of %s is not the pod's", a)
		}
	}
	return nil
}

// status is STATUS: whether the next ADD could work, as far as that is known without one.
func (c *call) status(ctx context.Context, plugin string) error {
	switch plugin {
	case conf.TypePTP, conf.TypePortmap:
		state, err := rules.Read()
		if err == nil && state.Damage() != "" { // nobody has made the rules yet, or the kernel cannot
			err = Probe()
		}
		if err != nil {
			return err
		}
	}
	pc, lc, err := readLeasesConf(c.stdin)
	if err != nil {
		return err
	}
	switch plugin {
	case conf.TypeLeases:
		_, err = lc.sets()
	case conf.TypePTP:
		if err = readConf(c.stdin, &ptpConf{}); err == nil {
			_, err = c.runIPAM(ctx, pc.IPAM.Type, nil)
		}
	}
	return err
}

// repair puts back what check misses, but for the interface itself.
func (c *call) repair(ctx context.Context, plugin string) error {
	pc, prev, err := c.confAndResult()
	if err != nil {
		return err
	}
	switch plugin {
	case conf.TypePTP:
		return c.ptpRepair(ctx, pc, prev)
	case conf.TypePortmap:
		return c.publish(&pc.pluginConf, prev)
	}
	leases, lc, err := readLeasesConf(c.stdin)
	if err != nil {
		return err
	}
	sets, err := lc.sets()
	if err != nil {
		return err
	}
	_, err = c.pool(leases.Name, lc).Acquire(c.owner(), sets, resultAddrs(prev))
	return err
}

func (c *call) ptpRepair(ctx context.Context, pc *ptpConf, prev *types100.Result) error {
	if _, err := c.runIPAM(ctx, pc.IPAM.Type, nil); err != nil {
		return err
	}
	v, err := newVeth(c, pc, prev)
	if err != nil {
		return err
	}
	if err := c.exec.host.enableForwarding(v.families()); err != nil {
		return err
	}
	if _, err := rules.Ensure(v.group); err != nil {
		return err
	}
	link, err := netlink.LinkByName(v.hostName)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil // CHECK says so again
	}
	if err != nil {
		return fmt.Errorf("find %s: %w", v.hostName, err)
	}
	if err := netlink.LinkSetGroup(link, int(v.group)); err != nil {
		return fmt.Errorf("set the group of %s: %w", v.hostName, err)
	}
	return withHandle(func(ns *namespace) error {
		return errors.Join(v.configureHost(ns.nl, link), v.closeSubnets(ns.nl, true))
	})
}

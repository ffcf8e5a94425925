package network

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/gantryrun/gantry/network/rules"
)

// portmapAdd publishes ports of a pod whose interface gantry-ptp has made.
func (c *call) portmapAdd() (*types100.Result, error) {
	var pc pluginConf
	if err := readConf(c.stdin, &pc); err != nil {
		return nil, err
	}
	prev, err := c.prevResult(&pc.PluginConf)
	if err != nil {
		return nil, err
	}
	if e, err := portElements(pc.RuntimeConfig.PortMappings, resultAddrs(prev)); err == nil {
		if err := checkListeners(e.Forwards); err != nil {
			return nil, err
		}
	}
	return prev, c.publish(&pc, prev)
}

// publish is idempotent.
func (c *call) publish(pc *pluginConf, prev *types100.Result) error {
	ports := pc.RuntimeConfig.PortMappings
	if len(ports) == 0 {
		return nil
	}
	e, err := portElements(ports, resultAddrs(prev))
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(prev.Interfaces, isHostLink) {
		return errors.New("the interface is not one of gantry-ptp; use the plugin portmap")
	}
	if localnet := routeLocalnet(e, prev); localnet != nil {
		if err := writeSysctl(localnet.name, localnet.value); err != nil {
			return err
		}
	}
	e.Owner = c.containerID
	if err := rules.Add(e); err != nil {
		return inUse(err)
	}
	return forgetFlows(e.Forwards)
}

// isHostLink recognises the host's end that gantry-ptp has made.
func isHostLink(i *types100.Interface) bool {
	return i.Sandbox == "" && strings.HasPrefix(i.Name, rules.LinkPrefix)
}

// routeLocalnet lets what the host sends to 127.0.0.1 leave by the pod's interface; the rules keep what comes by it from
// 127.0.0.0/8. It is nil where no IPv4 port is published.
func routeLocalnet(e rules.Elements, prev *types100.Result) *setting {
	i := slices.IndexFunc(prev.Interfaces, isHostLink)
	if i < 0 || !slices.ContainsFunc(e.Forwards, func(f rules.Forward) bool { return f.HostIP.Is4() }) {
		return nil
	}
	return &setting{"ipv4/conf/" + prev.Interfaces[i].Name + "/route_localnet", "1"}
}

func (c *call) portmapDel() error {
	var pc pluginConf
	if err := readConf(c.stdin, &pc); err != nil {
		return err
	}
	ports := pc.RuntimeConfig.PortMappings
	if len(ports) == 0 {
		return nil
	}
	addrs, err := c.podAddrs(&pc)
	if err != nil || len(addrs) == 0 {
		return err
	}
	e, err := portElements(ports, addrs)
	if err != nil {
		return nil //nolint:nilerr // ADD refused these ports for the same reason and made nothing
	}
	return errors.Join(rules.Remove(e), forgetFlows(e.Forwards))
}

// portElements is what a pod with these ports and addresses has in the rules.
func portElements(ports []portMapping, addrs []netip.Addr) (rules.Elements, error) {
	e := rules.Elements{Hairpin: addrs}
	for _, p := range ports {
		hosts := []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
		if p.HostIP != "" {
			a, err := netip.ParseAddr(p.HostIP)
			if err != nil {
				return e, fmt.Errorf("publish port %d: %q is not an IP address", p.HostPort, p.HostIP)
			}
			if a = a.Unmap(); a == netip.IPv6Loopback() {
				return e, fmt.Errorf("publish port %d: the kernel cannot forward from ::1; use 127.0.0.1", p.HostPort)
			}
			hosts = []netip.Addr{a}
		}
		n := len(e.Forwards)
		for _, host := range hosts {
			for _, pod := range addrs {
				if host.Is4() == pod.Is4() {
					e.Forwards = append(e.Forwards, rules.Forward{
						Protocol: p.Protocol, HostIP: host, HostPort: uint16(p.HostPort),
						To: netip.AddrPortFrom(pod, uint16(p.ContainerPort)),
					})
					break // the interface's first address of the family
				}
			}
		}
		if len(e.Forwards) == n {
			return e, fmt.Errorf("publish port %d on %s: the pod has no address of that family", p.HostPort, p.HostIP)
		}
	}
	return e, nil
}

package network

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/gantryrun/gantry/network/rules"
)

// ptpConf is the configuration of gantry-ptp: ptp's, and restricted.
type ptpConf struct {
	pluginConf
	IPMasq     bool `json:"ipMasq"`
	Restricted bool `json:"restricted"` // the pod reaches other restricted pods and the host, nothing else
	MTU        int  `json:"mtu"`
}

// ptpAdd makes the pod's interface: lease, veth pair with routes, elements in the rules. Each step is found again by
// ptpDel from the pod's ID alone: the lease by its owner, the link by its name, the elements by the lease.
func (c *call) ptpAdd(ctx context.Context) (*types100.Result, error) {
	var pc ptpConf
	if err := json.Unmarshal(c.stdin, &pc); err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	res, err := c.runIPAM(ctx, pc.IPAM.Type)
	if err != nil {
		return nil, err
	}
	if !hasIPv6() {
		dropIPv6(res)
	}
	if len(res.IPs) == 0 {
		return nil, errors.New("ipam gave no address")
	}
	v, err := newVeth(c, pc.MTU, res)
	if err != nil {
		return nil, err
	}
	if err := c.exec.host.enableForwarding(v.families()); err != nil {
		return nil, err
	}
	if err := v.create(c.netns); err != nil {
		return nil, err
	}
	if e := pc.elements(resultAddrs(res)); !e.empty() {
		if err := rules.Add(e.Elements); err != nil {
			return nil, err
		}
	}
	res.Interfaces = []*types100.Interface{
		{Name: v.hostName, Mac: v.hostMAC},
		{Name: c.ifName, Mac: v.podMAC, Sandbox: c.netns},
	}
	for _, ip := range res.IPs {
		ip.Interface = types100.Int(1)
	}
	if dnsSet(pc.DNS) {
		res.DNS = pc.DNS
	}
	return res, nil
}

// ptpDel takes back what ptpAdd made, the lease last, as the other steps are found by it.
func (c *call) ptpDel(ctx context.Context) error {
	var pc ptpConf
	if err := json.Unmarshal(c.stdin, &pc); err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	addrs, err := c.podAddrs(&pc.pluginConf)
	if err != nil {
		return err
	}
	if e := pc.elements(addrs); !e.empty() {
		if err := rules.Remove(e.Elements); err != nil {
			return err
		}
	}
	if c.exec.links {
		if err := deleteLink(hostLinkName(c.containerID, c.ifName)); err != nil {
			return err
		}
	}
	_, err = c.runIPAM(ctx, pc.IPAM.Type)
	return err
}

// elements is what a pod with these addresses has in the rules.
func (pc *ptpConf) elements(addrs []netip.Addr) elements {
	var e elements
	if pc.IPMasq {
		e.Masquerade = addrs
	}
	if pc.Restricted {
		e.Restricted = addrs
	}
	return e
}

type elements struct{ rules.Elements }

func (e elements) empty() bool {
	return len(e.Masquerade)+len(e.Restricted)+len(e.Hairpin)+len(e.Forwards) == 0
}

// dropIPv6 takes IPv6 out of a result, for a host whose kernel has none.
func dropIPv6(r *types100.Result) {
	is6 := func(ip net.IP) bool { return ip.To4() == nil }
	r.IPs = slices.DeleteFunc(r.IPs, func(ip *types100.IPConfig) bool { return is6(ip.Address.IP) })
	r.Routes = slices.DeleteFunc(r.Routes, func(rt *types.Route) bool { return is6(rt.Dst.IP) })
}

func dnsSet(d types.DNS) bool {
	return d.Domain != "" || d.Nameservers != nil || d.Search != nil || d.Options != nil
}

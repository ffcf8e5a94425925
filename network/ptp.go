package network

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

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

// ptpAdd makes the pod's interface: lease, then veth pair with routes. Each is found again by ptpDel from the pod's ID
// alone: the lease by its owner, the link by its name.
func (c *call) ptpAdd(ctx context.Context) (*types100.Result, error) {
	var pc ptpConf
	if err := readConf(c.stdin, &pc); err != nil {
		return nil, err
	}
	res, err := c.runIPAM(ctx, pc.IPAM.Type, nil)
	if err != nil {
		return nil, err
	}
	if !hasIPv6() {
		if err := c.dropIPv6(&pc, res); err != nil {
			return nil, err
		}
	}
	if len(res.IPs) == 0 {
		return nil, errors.New("ipam gave no address")
	}
	v, err := newVeth(c, &pc, res)
	if err != nil {
		return nil, err
	}
	if err := c.exec.host.enableForwarding(v.families()); err != nil {
		return nil, err
	}
	made, err := c.makeLink(v)
	if err != nil {
		return nil, err
	}
	if made {
		c.exec.host.restoreRules(ctx)
	}
	res.Interfaces = []*types100.Interface{
		{Name: v.hostName, Mac: v.hostMAC.String()},
		{Name: c.ifName, Mac: v.podMAC.String(), Sandbox: c.netns},
	}
	for _, ip := range res.IPs {
		ip.Interface = types100.Int(1)
	}
	if dnsSet(pc.DNS) {
		res.DNS = pc.DNS
	}
	return res, nil
}

// makeLink makes the pair, after the rules, which are to guard its packets; made says that there was no table of them.
func (c *call) makeLink(v *veth) (made bool, err error) {
	if made, err = rules.Ensure(v.group); err != nil {
		return false, err
	}
	return made, v.create(c.netns)
}

// ptpDel takes back what ptpAdd made. The lease is last: its address may be another pod's from then on. The network's element of the rules
// stays for its next pod, until Reset: it is about its own links only.
func (c *call) ptpDel(ctx context.Context) error {
	var pc ptpConf
	if err := readConf(c.stdin, &pc); err != nil {
		return err
	}
	if c.exec.links {
		if err := deleteLink(pc.hostLinkName(c)); err != nil {
			return err
		}
	}
	last := func() error {
		if _, lc, err := readLeasesConf(c.stdin); err != nil {
			return err
		} else if _, owned, err := c.otherPool(pc.Name, lc); err != nil || owned { // this pod was refused
			return err
		}
		return errors.Join(c.dropGateways(), c.openSubnets(), os.RemoveAll(c.poolFile(pc.Name)))
	}
	_, err := c.runIPAM(ctx, pc.IPAM.Type, last)
	return err
}

// networkGroup is the group of the host's links of a network, by which the rules know which pods are of one network.
func networkGroup(name string) uint32 {
	sum := sha256.Sum256([]byte("group " + name))
	return binary.BigEndian.Uint32(sum[:])>>1 | 1 // the kernel's is an int, and 0 is that of every other link
}

func (pc *ptpConf) hostLinkName(c *call) string {
	class := rules.Routed
	switch {
	case pc.Restricted:
		class = rules.Restricted
	case pc.IPMasq:
		class = rules.Masqueraded
	}
	return hostLinkName(class, c.containerID, c.ifName)
}

// hostLinkName is the name of the host's end: it follows from the pod's ID, so that the link is found when all else is
// lost. 40 bits of a hash are what an interface's name of 15 bytes leaves.
func hostLinkName(class rules.Class, podID, ifName string) string {
	sum := sha256.Sum256([]byte(podID + "/" + ifName))
	return rules.LinkPrefix + string(class) + strings.ToLower(base32.HexEncoding.EncodeToString(sum[:5]))
}

// dropIPv6 takes IPv6 out of a result, for a host whose kernel has none. Who asked for an address of it is refused.
func (c *call) dropIPv6(pc *ptpConf, r *types100.Result) error {
	want, err := c.wantedIPs(&pc.pluginConf)
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(want, netip.Addr.Is6); i >= 0 {
		return fmt.Errorf("%s is asked for, and this host has no IPv6", want[i])
	}
	is6 := func(ip net.IP) bool { return ip.To4() == nil }
	r.IPs = slices.DeleteFunc(r.IPs, func(ip *types100.IPConfig) bool { return is6(ip.Address.IP) })
	r.Routes = slices.DeleteFunc(r.Routes, func(rt *types.Route) bool { return is6(rt.Dst.IP) })
	return nil
}

func dnsSet(d types.DNS) bool {
	return d.Domain != "" || d.Nameservers != nil || d.Search != nil || d.Options != nil
}

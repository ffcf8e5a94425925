package network

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// onLo says whether the address of the gateway is on the host's lo and not on the pod's link. Linux keeps the routes of one
// IPv6 address on many links in a list that it walks: with 1,000 pods, adding the next took 5 ms.
func (v *veth) onLo(e vethAddr) bool { return v.sharedGateway && e.gateway.Is6() }

// dropGateways takes the addresses off lo that onLo has put there; for when the network has no other pod.
func (c *call) dropGateways() error {
	if !hasIPv6() {
		return nil
	}
	_, lc, err := readLeasesConf(c.stdin)
	if err != nil {
		return err
	}
	sets, err := lc.sets()
	if err != nil {
		return err
	}
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer nl.Close()
	lo, err := nl.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	for _, set := range sets {
		for _, r := range set {
			if r.Gateway.Is4() {
				continue
			}
			err := nl.AddrDel(lo, newAddr(hostPrefix(r.Gateway), 0))
			if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
				return fmt.Errorf("delete address %s: %w", r.Gateway, err)
			}
		}
	}
	return nil
}

package network

import (
	"errors"
	"net/netip"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// onLo says whether the address of the gateway is on the host's lo and not on the pod's link. Linux keeps the routes of one
// IPv6 address on many links in a list that it walks: with 1,000 pods, adding the next took 5 ms.
func (v *veth) onLo(e vethAddr) bool { return v.sharedGateway && e.gateway.Is6() }

// loopback is lo of any network namespace.
func loopback() netlink.Link {
	const index = 1 // LOOPBACK_IFINDEX
	return &netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: index, Name: "lo"}, LinkType: "loopback"}
}

// gatewayDir has a file for each address of a gateway of the network that is on lo, named by it and made before: whoever is the last pod
// may have another configuration than the first had.
func (c *call) gatewayDir() string {
	return filepath.Join(c.exec.host.runDir(), "leases", ".gateways", c.exec.list.Name)
}

// dropGateways takes the addresses off lo that onLo has put there; for when the network has no other pod.
func (c *call) dropGateways() error {
	return forget(c.gatewayDir(), func(nl *netlink.Handle, name string) error {
		gateway, err := netip.ParseAddr(name)
		if err == nil {
			err = nl.AddrDel(loopback(), newAddr(hostPrefix(gateway), 0))
		}
		if errors.Is(err, unix.EADDRNOTAVAIL) {
			return nil
		}
		return err
	})
}

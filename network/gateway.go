package network

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// onLo says whether the address of the gateway is on the host's lo and not on the pod's link. Linux keeps the routes of one
// IPv6 address on many links in a list that it walks: with 1,000 pods, adding the next took 5 ms.
func (v *veth) onLo(e vethAddr) bool { return v.sharedGateway && e.gateway.Is6() }

// gatewayDir has a file for each address of a gateway of the network that is on lo, named by it and made before: whoever is the last pod
// may have another configuration than the first had.
func (c *call) gatewayDir() string {
	return filepath.Join(c.exec.host.runDir(), "leases", ".gateways", c.exec.list.Name)
}

func rememberGateway(dir string, gateway netip.Addr) error {
	file := filepath.Join(dir, gateway.String())
	if unix.Access(file, unix.F_OK) == nil {
		return nil
	}
	err := os.MkdirAll(dir, 0o755)
	if err == nil {
		err = os.WriteFile(file, nil, 0o644)
	}
	if err != nil {
		return fmt.Errorf("remember gateway %s: %w", gateway, err)
	}
	return nil
}

// dropGateways takes the addresses off lo that onLo has put there; for when the network has no other pod.
func (c *call) dropGateways() error {
	files, err := os.ReadDir(c.gatewayDir())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look up gateways: %w", err)
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
	for _, f := range files {
		gateway, err := netip.ParseAddr(f.Name())
		if err == nil {
			err = nl.AddrDel(lo, newAddr(hostPrefix(gateway), 0))
			if errors.Is(err, unix.EADDRNOTAVAIL) {
				err = nil
			}
		}
		if err == nil {
			err = os.Remove(filepath.Join(c.gatewayDir(), f.Name()))
		}
		if err != nil {
			return fmt.Errorf("delete address of gateway %s: %w", f.Name(), err)
		}
	}
	return os.Remove(c.gatewayDir())
}

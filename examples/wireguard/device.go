package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// makeDevice makes the interface on the host, where its UDP socket stays: of the kernel, or of a process of ours.
func makeDevice(r record, lock *os.File) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = r.hostName
	err := netlink.LinkAdd(&netlink.Wireguard{LinkAttrs: attrs})
	switch {
	case errors.Is(err, unix.EOPNOTSUPP):
		return startServer(r, lock)
	case err != nil:
		return fmt.Errorf("make WireGuard interface: %w", err)
	}
	return nil
}

// moveInto gives the interface to the pod, with its name there, addresses, and routes to its peers.
func (c *conf) moveInto(path, hostName string) error {
	link, err := netlink.LinkByName(hostName)
	if err != nil {
		return fmt.Errorf("find interface %s: %w", hostName, err)
	}
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return fmt.Errorf("open the pod's network namespace: %w", err)
	}
	defer ns.Close()
	if err := netlink.LinkSetNsFd(link, int(ns)); err != nil {
		return fmt.Errorf("move interface into the pod: %w", err)
	}
	h, err := netlink.NewHandleAt(ns)
	if err != nil {
		return err
	}
	defer h.Close()
	if link, err = h.LinkByName(hostName); err != nil {
		return err
	}
	if err := errors.Join(h.LinkSetName(link, c.Interface), h.LinkSetMTU(link, c.MTU)); err != nil {
		return fmt.Errorf("name the pod's interface %s: %w", c.Interface, err)
	}
	for _, a := range c.Addresses {
		if err := h.AddrAdd(link, &netlink.Addr{IPNet: ipNet(a), Flags: unix.IFA_F_NODAD}); err != nil {
			return fmt.Errorf("add address %s: %w", a, err)
		}
	}
	if err := h.LinkSetUp(link); err != nil {
		return err
	}
	for _, p := range c.Peers {
		for _, dst := range p.AllowedIPs {
			// What the interface's own address covers has a route.
			err := h.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(dst.Masked()), Scope: netlink.SCOPE_LINK})
			if err != nil && !errors.Is(err, unix.EEXIST) {
				return fmt.Errorf("add route to %s: %w", dst, err)
			}
		}
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// removeFrom removes the interface from the pod; a namespace, or an interface, that is gone is no error.
func removeFrom(path, name string) error {
	ns, err := netns.GetFromPath(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open the pod's network namespace: %w", err)
	}
	defer ns.Close()
	h, err := netlink.NewHandleAt(ns)
	if err != nil {
		return err
	}
	defer h.Close()
	return remove(h, name)
}

// removeHere removes what an ADD has left that did not get as far as the pod.
func removeHere(name string) error {
	h, err := netlink.NewHandle()
	if err != nil {
		return err
	}
	defer h.Close()
	return remove(h, name)
}

func remove(h *netlink.Handle, name string) error {
	link, err := h.LinkByName(name)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil
	}
	if err == nil {
		err = h.LinkDel(link)
	}
	if err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove interface %s: %w", name, err)
	}
	return nil
}

func checkIn(path, name string) error {
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return err
	}
	defer ns.Close()
	h, err := netlink.NewHandleAt(ns)
	if err != nil {
		return err
	}
	defer h.Close()
	link, err := h.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find interface %s: %w", name, err)
	}
	if link.Attrs().Flags&net.FlagUp == 0 {
		return fmt.Errorf("interface %s is down", name)
	}
	return nil
}

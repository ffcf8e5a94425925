package network

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"unicode"

	types100 "github.com/containernetworking/cni/pkg/types/100"
)

// Result is what an attachment has: the interface inside the pod, its addresses and routes, and what the network says of
// DNS.
type Result struct {
	Network    string    `json:"network"`
	IfName     string    `json:"ifName"`
	MAC        string    `json:"mac,omitempty"`
	HostIfName string    `json:"hostIfName,omitempty"` // the host's end, where the network has one
	IPs        []Address `json:"ips,omitempty"`
	Routes     []Route   `json:"routes,omitempty"`
	DNS        DNS       `json:"dns,omitzero"`
}

// Address is an address with the length of its network's prefix, and the gateway of that network where it has one.
type Address struct {
	Address netip.Prefix `json:"address"`
	Gateway netip.Addr   `json:"gateway,omitzero"`
}

// Route is a route of the pod beside those to its own networks. No gateway means the address's gateway.
type Route struct {
	Dst     netip.Prefix `json:"dst"`
	Gateway netip.Addr   `json:"gateway,omitzero"`
}

// DNS is what the network says should be in resolv.conf; all empty where it says nothing.
type DNS struct {
	Nameservers []string `json:"nameservers,omitempty"`
	Domain      string   `json:"domain,omitempty"`
	Search      []string `json:"search,omitempty"`
	Options     []string `json:"options,omitempty"`
}

// convert takes what concerns the attachment's interface out of a CNI result. Addresses that name no interface are the
// attachment's, as plugins of old versions name none.
func convert(a Attachment, netns string, full *types100.Result) (Result, error) {
	res := Result{Network: a.Network, IfName: a.IfName, DNS: DNS(full.DNS)}
	for _, s := range slices.Concat(full.DNS.Nameservers, full.DNS.Search, full.DNS.Options, []string{full.DNS.Domain}) {
		if strings.ContainsFunc(s, unicode.IsControl) {
			return Result{}, fmt.Errorf("result of network %q: %q would be a line of its own in resolv.conf", a.Network, s)
		}
	}
	for _, i := range full.Interfaces {
		switch {
		case i.Name == a.IfName && i.Sandbox == netns:
			res.MAC = i.Mac
		case i.Sandbox == "" && res.HostIfName == "":
			res.HostIfName = i.Name
		}
	}
	for _, ip := range full.IPs {
		if n := ip.Interface; n != nil && *n >= 0 && *n < len(full.Interfaces) {
			if i := full.Interfaces[*n]; i.Name != a.IfName || i.Sandbox == "" {
				continue
			}
		}
		prefix, err := toPrefix(ip.Address)
		if err != nil {
			return Result{}, fmt.Errorf("result of network %q: %w", a.Network, err)
		}
		gw, _ := netip.AddrFromSlice(ip.Gateway)
		res.IPs = append(res.IPs, Address{prefix, gw.Unmap()})
	}
	for _, r := range full.Routes {
		dst, err := toPrefix(r.Dst)
		if err != nil {
			return Result{}, fmt.Errorf("result of network %q: %w", a.Network, err)
		}
		gw, _ := netip.AddrFromSlice(r.GW)
		res.Routes = append(res.Routes, Route{dst, gw.Unmap()})
	}
	return res, nil
}

func toPrefix(n net.IPNet) (netip.Prefix, error) {
	addr, ok := netip.AddrFromSlice(n.IP)
	ones, bits := n.Mask.Size()
	if addr = addr.Unmap(); !ok || bits != addr.BitLen() {
		return netip.Prefix{}, fmt.Errorf("%q is not an address with a prefix length", n.String())
	}
	return netip.PrefixFrom(addr, ones), nil
}

func toIPNet(p netip.Prefix) net.IPNet {
	return net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

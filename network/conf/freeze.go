package conf

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containernetworking/cni/libcni"
)

// Network is one network of a pod, frozen: nothing else is needed to join or to leave it.
type Network struct {
	Name   string `json:"name"`
	IfName string `json:"ifName"`
	// Args are CNI_ARGS; network adds IgnoreUnknown itself.
	Args [][2]string `json:"args,omitempty"`
	// Ports are the pod's published ports on the one network that takes them: the first whose chain has a plugin with
	// the capability portMappings.
	Ports []PortMapping `json:"ports,omitempty"`
	// NoDNS says that its plugins return nothing of DNS, as those of gantry do whose configuration has none.
	NoDNS bool `json:"noDNS,omitempty"`
	// Conflist is a complete CNI configuration list.
	Conflist []byte `json:"-"`
}

// Freeze resolves what the user selected to networks eth0, eth1, … in the order given, checks that every plugin
// program exists and that published ports have somewhere to go. The selection's mode must be Contained.
func (s Source) Freeze(sel Selection, ports []PortMapping) ([]Network, error) {
	if sel.Mode != Contained {
		if len(ports) > 0 {
			return nil, fmt.Errorf("publish port %s: a pod with --net=%s has no network to publish it on", ports[0], sel.Mode)
		}
		return nil, nil
	}
	if err := checkPorts(ports); err != nil {
		return nil, err
	}
	reqs, err := s.expandAll(sel.Networks)
	if err != nil {
		return nil, err
	}
	var nets []Network
	placed := len(ports) == 0
	for i, req := range reqs {
		e, err := s.Find(req.Name)
		if err != nil {
			return nil, err
		}
		if err := s.checkPlugins(e); err != nil {
			return nil, err
		}
		if err := e.checkWishes(req.Args); err != nil {
			return nil, err
		}
		frozen, err := freezeList(e.list)
		if err != nil {
			return nil, fmt.Errorf("freeze network %q (%s): %w", e.Name, e.origin(), err)
		}
		n := Network{Name: e.Name, IfName: fmt.Sprintf("eth%d", i), Args: req.Args, NoDNS: noDNS(e.list), Conflist: frozen}
		if !placed && hasCapability(e.list, "portMappings") {
			n.Ports, placed = ports, true
		}
		nets = append(nets, n)
	}
	if !placed {
		return nil, fmt.Errorf("publish port %s: no network of the pod has a plugin that takes portMappings", ports[0])
	}
	return nets, nil
}

// expandAll replaces the name "all" by every configured network, then the default one, unless a network is called so.
func (s Source) expandAll(reqs []Request) ([]Request, error) {
	var out []Request
	seen := map[string]bool{}
	add := func(r Request) {
		if !seen[r.Name] {
			seen[r.Name] = true
			out = append(out, r)
		}
	}
	for _, r := range reqs {
		if r.Name != All {
			add(r)
			continue
		}
		entries, err := s.List()
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if e.Err != nil {
				return nil, e.Err
			}
			if e.File != "" {
				add(Request{Name: e.Name})
			}
		}
		add(Request{Name: "default"})
	}
	return out, nil
}

// freezeList writes a list that says all by itself: plugins that CNI 1.1 reads from files beside it are inlined, and the
// version that was negotiated from cniVersions is fixed.
func freezeList(l *libcni.NetworkConfigList) ([]byte, error) {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(l.Bytes, &raw); err != nil {
		return nil, err
	}
	delete(raw, "cniVersions")
	plugins := make([]json.RawMessage, len(l.Plugins))
	for i, p := range l.Plugins {
		plugins[i] = p.Bytes
	}
	fixed := map[string]any{"plugins": plugins, "loadOnlyInlinedPlugins": true}
	if l.CNIVersion != "" {
		fixed["cniVersion"] = l.CNIVersion
	}
	for key, value := range fixed {
		data, err := json.Marshal(value)
		if err != nil {
			return nil, err
		}
		raw[key] = data
	}
	return json.Marshal(raw)
}

// checkPlugins makes sure that every program that the network's chain names directly is there.
func (s Source) checkPlugins(e Entry) error {
	for _, p := range e.list.Plugins {
		for _, t := range []string{p.Network.Type, p.Network.IPAM.Type} {
			if t == "" || Builtin(t) {
				continue
			}
			if err := findPlugin(t, s.PluginDirs); err != nil {
				return fmt.Errorf("network %q (%s): %w", e.Name, e.origin(), err)
			}
		}
	}
	return nil
}

func findPlugin(name string, dirs []string) error {
	if strings.ContainsRune(name, '/') {
		return fmt.Errorf("plugin type %q is a path", name)
	}
	for _, dir := range dirs {
		if st, err := os.Stat(filepath.Join(dir, name)); err == nil && st.Mode().IsRegular() {
			return nil
		}
	}
	if len(dirs) == 0 {
		return fmt.Errorf("plugin %q is not built in and no plugin directory is configured", name)
	}
	return fmt.Errorf("plugin %q is not in %s", name, strings.Join(dirs, ", "))
}

func noDNS(l *libcni.NetworkConfigList) bool {
	return !Executes(l) && !slices.ContainsFunc(l.Plugins, func(p *libcni.PluginConfig) bool {
		dns := p.Network.DNS
		return dns.Domain != "" || dns.Nameservers != nil || dns.Search != nil || dns.Options != nil
	})
}

func hasCapability(l *libcni.NetworkConfigList, name string) bool {
	for _, p := range l.Plugins {
		if p.Network.Capabilities[name] {
			return true
		}
	}
	return false
}

// checkPorts refuses mappings that are not resolved, and two that claim the same port of the same address.
func checkPorts(ports []PortMapping) error {
	type key struct {
		proto string
		port  uint16
	}
	taken := map[key][]netip.Addr{}
	for _, p := range ports {
		if !p.Resolved() {
			return fmt.Errorf("publish port %s: the image has no port %q", p, p.Name)
		}
		if p.HostIP == netip.IPv6Loopback() {
			return fmt.Errorf("publish port %s: the kernel forwards nothing from ::1: use 127.0.0.1, or an address of the host", p)
		}
		k := key{p.Protocol, p.HostPort}
		for _, ip := range taken[k] {
			if overlap(ip, p.HostIP) {
				return fmt.Errorf("publish port %s: %w", p, errTwice)
			}
		}
		taken[k] = append(taken[k], p.HostIP)
	}
	return nil
}

// overlap says whether two host addresses of --port have an address in common. The zero address stands for all, 0.0.0.0
// and :: for all of their family.
func overlap(a, b netip.Addr) bool {
	switch {
	case a == b, !a.IsValid(), !b.IsValid():
		return true
	case a.Is4() != b.Is4():
		return false
	}
	return a.IsUnspecified() || b.IsUnspecified()
}

var errTwice = errors.New("host port is given twice")

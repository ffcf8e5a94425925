package runtime

import (
	"fmt"

	"github.com/gantryrun/gantry/network/conf"
	"github.com/gantryrun/gantry/pods"
)

// Override is what is said anew of a pod that was prepared. What is nil or empty stays.
type Override struct {
	Hostname  string
	Net       *conf.Selection
	DNS       *pods.DNS
	Hosts     []pods.HostsEntry
	HostsFile string
	IPC       string // private or host: only what the pod has already
}

// Override changes what the pod's supervisor will read. The apps' own configurations are made: whether the pod has the host's network, or IPC, stays.
func (r *Runtime) Override(p *Prepared, o Override) error {
	m, err := p.pod.Manifest()
	if err != nil {
		return err
	}
	switch host := m.Net == pods.NetHost; {
	case o.Net != nil && (o.Net.Mode == conf.HostNet) != host:
		return requestErrorf("--net=%s: the pod was prepared with --net=%s, and its apps are made for that: prepare another", o.Net.Mode, m.Net)
	case o.Hostname != "" && m.Stage1 == pods.Stage1Chroot:
		return requestErrorf("the flavour %s cannot do --hostname", m.Stage1)
	case o.IPC != "" && o.IPC != m.IPC:
		return requestErrorf("--ipc: the pod was prepared with ipc %s, and its apps are made for that: prepare another", m.IPC)
	}
	if o.Hostname != "" {
		m.Hostname = o.Hostname
	}
	if o.DNS != nil {
		m.DNS = *o.DNS
	}
	if o.HostsFile != "" || len(o.Hosts) > 0 {
		m.HostsFile, m.Hosts = o.HostsFile, o.Hosts
	}
	conflists := map[string][]byte{}
	if o.Net != nil && m.Net != pods.NetHost {
		if conflists, err = r.otherNetworks(m, *o.Net); err != nil {
			return err
		}
	}
	return p.pod.Rewrite(m, conflists)
}

// otherNetworks gives m other networks, for the ports that it has, and returns their configurations.
func (r *Runtime) otherNetworks(m *pods.Manifest, to conf.Selection) (map[string][]byte, error) {
	var ports []conf.PortMapping
	for _, p := range m.Ports {
		c, err := conf.MapPort(p.Name, p.Protocol, p.HostIP, p.HostPort, p.PodPort)
		if err != nil {
			return nil, err
		}
		ports = append(ports, c)
	}
	nets, err := r.Networks.Freeze(to, ports)
	if err != nil {
		return nil, err
	}
	m.Net = pods.NetCNI
	if to.Mode == conf.None {
		m.Net = pods.NetNone
	}
	return r.nameNetworks(m, nets), nil
}

// nameNetworks has m name the networks, and returns the files that it names, for who writes them before it.
func (r *Runtime) nameNetworks(m *pods.Manifest, nets []conf.Network) map[string][]byte {
	files := map[string][]byte{}
	m.Networks, m.PluginDirs = nil, nil
	for i, n := range nets {
		file := fmt.Sprintf("net/%d-%s.conflist", i, n.Name)
		files[file] = n.Conflist
		m.Networks = append(m.Networks, pods.Network{Name: n.Name, IfName: n.IfName, Conflist: file, Args: n.Args, Publish: len(n.Ports) > 0, NoDNS: n.NoDNS})
		m.PluginDirs = r.Networks.PluginDirs
	}
	return files
}

package stage1

import (
	"context"
	"errors"
	"fmt"
	"os/signal"

	"github.com/gantryrun/gantry/network"
	"github.com/gantryrun/gantry/network/conf"
	"github.com/gantryrun/gantry/pods"
)

// attachments are what the manifest asks for, complete with the frozen configuration of each network.
func attachments(pod *pods.Pod, m *pods.Manifest) ([]network.Attachment, error) {
	var out []network.Attachment
	for _, n := range m.Networks {
		conflist, err := pod.Root().ReadFile(n.Conflist)
		if err != nil {
			return nil, fmt.Errorf("read configuration of network %s: %w", n.Name, err)
		}
		a := network.Attachment{PodID: pod.UUID, Network: n.Name, IfName: n.IfName, Args: n.Args, Conflist: conflist}
		a.DNS = network.DNS{Nameservers: m.DNS.Servers, Search: m.DNS.Search}
		if m.Name != "" {
			a.Aliases = []string{m.Name}
		}
		if n.Publish {
			if a.Ports, err = portMappings(m.Ports); err != nil {
				return nil, err
			}
		}
		out = append(out, a)
	}
	return out, nil
}

func portMappings(ports []pods.Port) ([]conf.PortMapping, error) {
	var out []conf.PortMapping
	for _, p := range ports {
		c, err := conf.MapPort(p.Name, p.Protocol, p.HostIP, p.HostPort, p.PodPort)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

// errPodStopped is why a pod is not made to its end: somebody has asked it to stop.
var errPodStopped = errors.New("the pod was stopped before it was ready")

// attach joins the pod to its networks and records what they returned in net.json. Each is detached by undo. The loop does not run yet, so a
// stop is heard here: a plugin that hangs has a minute, and is not waited for.
func (s *supervisor) attach(ctx context.Context) error {
	if s.manifest.Net == pods.NetHost {
		return nil
	}
	netns := s.reaper.paths()["network"]
	if err := network.Loopback(netns); err != nil {
		return fmt.Errorf("set up the pod's loopback: %w", err)
	}
	list, err := attachments(s.pod, s.manifest)
	if err != nil || len(list) == 0 {
		return err
	}
	stoppable, done := signal.NotifyContext(ctx, stopSignals()...)
	defer done()
	host := &network.Host{PluginDirs: s.manifest.PluginDirs, Cgroup: s.pluginCgroup}
	made := &pods.Net{}
	for _, a := range list {
		r, err := s.attachTo(stoppable, host, a, netns)
		if err != nil {
			if errors.Is(err, network.ErrLeft) { // gc is to try again
				s.undo.push("network "+a.Network, func(context.Context) error { return network.ErrLeft })
			}
			if stoppable.Err() != nil {
				return errPodStopped
			}
			return err
		}
		s.undo.push("network "+a.Network, func(ctx context.Context) error { return host.Detach(ctx, a, netns) })
		made.Interfaces = append(made.Interfaces, record(r))
		mergeDNS(&s.netDNS, r.DNS)
	}
	if err := s.pod.WriteNet(made); err != nil {
		return err
	}
	s.net = made // only now: exit.json has a copy of what is there
	return nil
}

func record(r network.Result) pods.Interface {
	i := pods.Interface{Network: r.Network, IfName: r.IfName, MAC: r.MAC}
	for _, ip := range r.IPs {
		i.IPs = append(i.IPs, ip.Address.String())
		if ip.Gateway.IsValid() {
			i.Gateway = append(i.Gateway, ip.Gateway.String())
		}
	}
	return i
}

// mergeDNS adds what another network says: the first domain wins, lists grow.
func mergeDNS(into *pods.DNS, d network.DNS) {
	into.Servers = append(into.Servers, d.Nameservers...)
	into.Search = append(into.Search, d.Search...)
	into.Options = append(into.Options, d.Options...)
	if into.Domain == "" {
		into.Domain = d.Domain
	}
}

// detachAll takes back every attachment that the pod may have, from what the pod directory says, without its namespace. skip is Host.Skip.
func detachAll(ctx context.Context, pod *pods.Pod, skip []string) error {
	m, err := pod.Manifest()
	if err != nil {
		return err
	}
	list, err := attachments(pod, m)
	if err != nil {
		return err
	}
	host := network.Host{PluginDirs: m.PluginDirs, Skip: skip}
	var errs []error
	for _, a := range list {
		errs = append(errs, host.Detach(ctx, a, ""))
	}
	return errors.Join(errs...)
}

// ResetNetwork takes back what the network has on this host for all pods together: the table of rules and, if asked, the
// sysctls that let the host forward.
// Where pods are attached, of whatever data directory, it does nothing.
func ResetNetwork(sysctls bool) error {
	err := (&network.Host{}).Reset(sysctls)
	if errors.Is(err, network.ErrInUse) {
		return nil
	}
	return err
}

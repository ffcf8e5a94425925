// Package network attaches pods to networks and detaches them.
//
// It knows CNI: it runs the plugin chain of a frozen conflist, with the plugins that gantry implements (routed veth
// pairs, published ports, address leases) in process and every other one executed. It never reads configuration: what it
// is given is frozen, see network/conf. Its invariant is that Detach, given the same Attachment, takes away whatever an
// Attach of it has made or begun to make, without the namespace, the pod's mounts or the supervisor that made it.
package network

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/utils"

	"github.com/gantryrun/gantry/network/conf"
)

// Host is the machine whose network pods join, that is, the network namespace of the calling process. All dirs of gantry
// on one machine share it. The zero value is ready for use where only built-in plugins are needed.
type Host struct {
	// PluginDirs are searched in order for the programs of plugins that are not built in.
	PluginDirs []string
	// RunDir holds what must not outlive a reboot: leases/, cni/ (libcni's results). Default /run/gantry.
	RunDir string
	// Cgroup, if set, is asked for the cgroup (of version 2) in which plugins are to be born: what they start is found there when
	// they leave it behind, or when their supervisor is killed. It may answer nil.
	Cgroup func() (*os.File, error)
	// Timeout bounds each plugin that is executed; it and its children are killed then. Default 60 s.
	Timeout time.Duration
	// Skip are types of plugins that keep nobody waiting for their DEL: it is tried, and what it leaves is left. It is for programs that are gone for good.
	Skip []string
}

// Attachment is one pod's interface on one network. The same value, stored, is what Detach needs.
type Attachment struct {
	PodID   string             `json:"podID"`
	Network string             `json:"network"`
	IfName  string             `json:"ifName"`
	Args    [][2]string        `json:"args,omitempty"`
	Ports   []conf.PortMapping `json:"ports,omitempty"`
	// Aliases and DNS are for plugins with the capabilities aliases and dns: other names of the pod, and what its resolv.conf says.
	Aliases  []string `json:"aliases,omitempty"`
	DNS      DNS      `json:"dns,omitzero"`
	Conflist []byte   `json:"-"`

	caps map[string]any // as the register has them, instead of what the fields above come to
}

const (
	defaultRunDir  = "/run/gantry"
	defaultTimeout = 60 * time.Second
)

// Attach runs ADD of the attachment's chain. netns is a path of the pod's network namespace that stays valid during the
// call, such as /proc/<supervisor>/fd/<n>; it is stored nowhere. An Attach that fails has been followed by a Detach; what
// that could not remove is part of the error, and a later Detach will try again.
func (h *Host) Attach(ctx context.Context, a Attachment, netns string) (Result, error) {
	list, err := a.list()
	if err != nil {
		return Result{}, err
	}
	release, err := h.shareHost()
	if err != nil {
		return Result{}, err
	}
	defer release()
	if stop, err := h.withDHCP(ctx, a, list); err != nil { // else Detach ends it
		return Result{}, fmt.Errorf("attach to network %q: %w", a.Network, errors.Join(err, stop()))
	}
	x := &pluginExec{host: h, list: list}
	added, err := h.cni(x).AddNetworkList(ctx, list, a.runtimeConf(netns))
	if err == nil {
		var full *types100.Result
		if full, err = types100.GetResult(added); err == nil {
			var res Result
			if res, err = convert(a, netns, full); err == nil {
				return res, nil
			}
		}
	}
	err = fmt.Errorf("attach to network %q: %w", a.Network, err)
	// The caller's context may be what ended ADD; taking back must not end with it.
	undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), h.timeout()*time.Duration(len(list.Plugins)))
	defer cancel()
	if derr := h.detach(undo, a, list, netns, true); derr != nil {
		return Result{}, fmt.Errorf("%w; %w: %w", err, ErrLeft, derr)
	}
	return Result{}, err
}

// ErrLeft says that what an Attach that failed had begun could not be taken back: Detach is to be called again, later.
var ErrLeft = errors.New("not all of it could be taken back")

// list parses the frozen conflist, and checks that it is the one of the network that the attachment names.
func (a Attachment) list() (*libcni.NetworkConfigList, error) {
	l, err := libcni.NetworkConfFromBytes(a.Conflist)
	if err != nil {
		return nil, fmt.Errorf("read conflist of network %q: %w", a.Network, err)
	}
	if l.Name != a.Network {
		return nil, fmt.Errorf("read conflist of network %q: it is called %q", a.Network, l.Name)
	}
	if len(l.Plugins) == 0 {
		return nil, fmt.Errorf("read conflist of network %q: no plugins", a.Network)
	}
	// All three become parts of paths.
	for _, invalid := range []*types.Error{
		utils.ValidateNetworkName(a.Network), utils.ValidateContainerID(a.PodID), utils.ValidateInterfaceName(a.IfName),
	} {
		if invalid != nil {
			return nil, fmt.Errorf("network %q of pod %q: %w", a.Network, a.PodID, invalid)
		}
	}
	return l, nil
}

// runtimeConf says to libcni what this attachment is; each plugin gets the capabilities that it declares. IgnoreUnknown is added to
// CNI_ARGS, as each plugin refuses keys that are meant for another one of the chain.
func (a Attachment) runtimeConf(netns string) *libcni.RuntimeConf {
	args := slices.Clone(a.Args)
	if !slices.ContainsFunc(args, func(kv [2]string) bool { return kv[0] == "IgnoreUnknown" }) {
		args = append(args, [2]string{"IgnoreUnknown", "1"})
	}
	caps := a.caps
	if caps == nil {
		caps = a.capabilities()
	}
	return &libcni.RuntimeConf{ContainerID: a.PodID, NetNS: netns, IfName: a.IfName, Args: args, CapabilityArgs: caps}
}

// capabilities are what plugins may declare to take of the pod.
func (a Attachment) capabilities() map[string]any {
	caps := map[string]any{}
	wishes, err := conf.ParseWishes(a.Args)
	if err != nil {
		return caps // of a pod that an earlier gantry has prepared: DEL must not fail for it
	}
	if wishes.IPs != nil {
		caps["ips"] = wishes.IPs
	}
	if wishes.MAC != "" {
		caps["mac"] = wishes.MAC
	}
	if wishes.Bandwidth != nil {
		caps["bandwidth"] = wishes.Bandwidth
	}
	if aliases := slices.Concat(a.Aliases, wishes.Aliases); aliases != nil {
		caps["aliases"] = aliases
	}
	if a.DNS.Nameservers != nil || a.DNS.Search != nil {
		caps["dns"] = map[string][]string{"servers": a.DNS.Nameservers, "searches": a.DNS.Search}
	}
	if len(a.Ports) > 0 {
		caps["portMappings"] = portMappings(a.Ports)
	}
	return caps
}

// portMapping is the entry of the capability portMappings as CNI's conventions have it.
type portMapping struct {
	HostPort      int    `json:"hostPort"`
	ContainerPort int    `json:"containerPort"`
	Protocol      string `json:"protocol"`
	HostIP        string `json:"hostIP,omitempty"`
}

func portMappings(ports []conf.PortMapping) []portMapping {
	out := make([]portMapping, len(ports))
	for i, p := range ports {
		out[i] = portMapping{int(p.HostPort), int(p.ContainerPort), p.Protocol, ""}
		if p.HostIP.IsValid() {
			out[i].HostIP = p.HostIP.String()
		}
	}
	return out
}

func (h *Host) cni(x *pluginExec) *libcni.CNIConfig {
	return libcni.NewCNIConfigWithCacheDir(h.PluginDirs, h.resultDir(), x)
}

// resultDir is where libcni keeps the result of each ADD, for DEL to have as prevResult. A DEL without it works too.
func (h *Host) resultDir() string { return filepath.Join(h.runDir(), "cni") }

func (h *Host) runDir() string {
	if h.RunDir == "" {
		return defaultRunDir
	}
	return h.RunDir
}

// leaseDir is where the built-in IPAM plugin keeps addresses, a directory for each network.
func (h *Host) leaseDir() string { return filepath.Join(h.runDir(), "leases") }

func (h *Host) timeout() time.Duration {
	if h.Timeout == 0 {
		return defaultTimeout
	}
	return h.Timeout
}

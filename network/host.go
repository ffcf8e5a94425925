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
	// Timeout bounds each plugin that is executed; it and its children are killed then. Default 60 s.
	Timeout time.Duration
}

// Attachment is one pod's interface on one network. The same value, stored, is what Detach needs.
type Attachment struct {
	PodID    string             `json:"podID"`
	Network  string             `json:"network"`
	IfName   string             `json:"ifName"`
	Args     [][2]string        `json:"args,omitempty"`
	Ports    []conf.PortMapping `json:"ports,omitempty"`
	Conflist []byte             `json:"-"`
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
	return Result{}, errors.Join(err, h.detach(undo, a, list, netns, true))
}

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

// runtimeConf says to libcni what this attachment is. IgnoreUnknown is added to CNI_ARGS, as each plugin refuses keys that
// are meant for another one of the chain. An address asked for as IP= is also given as the capability ips.
func (a Attachment) runtimeConf(netns string) *libcni.RuntimeConf {
	args := slices.Clone(a.Args)
	caps := map[string]any{}
	var ips []string
	ignore := false
	for _, kv := range args {
		switch kv[0] {
		case "IP":
			ips = append(ips, kv[1])
		case "IgnoreUnknown":
			ignore = true
		}
	}
	if !ignore {
		args = append(args, [2]string{"IgnoreUnknown", "1"})
	}
	if ips != nil {
		caps["ips"] = ips
	}
	if len(a.Ports) > 0 {
		caps["portMappings"] = portMappings(a.Ports)
	}
	return &libcni.RuntimeConf{ContainerID: a.PodID, NetNS: netns, IfName: a.IfName, Args: args, CapabilityArgs: caps}
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

func (h *Host) timeout() time.Duration {
	if h.Timeout == 0 {
		return defaultTimeout
	}
	return h.Timeout
}

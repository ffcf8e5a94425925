package network

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/containernetworking/cni/libcni"

	"github.com/gantryrun/gantry/network/conf"
	"github.com/gantryrun/gantry/network/rules"
)

// Check says whether an attachment still is what Attach made: CNI's CHECK of every plugin of the chain. netns is the path that
// Attach was given, as plugins compare it with their result; with an empty one only the built-in plugins are asked, for what they
// have outside the namespace. A configuration before CNI 0.4.0 has no CHECK of programs: that is no error.
func (h *Host) Check(ctx context.Context, a Attachment, netns string) error {
	state, err := rules.Read()
	if err != nil {
		return err
	}
	return h.check(ctx, a, netns, state)
}

// check is Check with the picture of the table that the caller has: taking one costs what all pods together publish.
func (h *Host) check(ctx context.Context, a Attachment, netns string, state *rules.State) error {
	list, err := a.list()
	if err != nil {
		return err
	}
	if netns == "" {
		list.Plugins = slices.DeleteFunc(list.Plugins, func(p *libcni.PluginConfig) bool { return !conf.Builtin(p.Network.Type) })
	}
	if socket, err := h.pointDHCP(a, list); err != nil {
		return fmt.Errorf("check network %q: %w", a.Network, err)
	} else if socket != "" && !answers(socket) {
		return fmt.Errorf("check network %q: its dhcp daemon has ended: the lease will not be renewed", a.Network)
	}
	x := &pluginExec{host: h, list: list, state: state}
	err = h.cni(x).CheckNetworkList(ctx, list, a.runtimeConf(netns))
	if err != nil && !errors.Is(err, libcni.ErrorCheckNotSupp) {
		return fmt.Errorf("check network %q: %w", a.Network, err)
	}
	return nil
}

// Repair puts back what the built-in plugins of the attachment's chain have on the host and somebody has taken away: rules,
// leases, routes, sysctls. Interfaces are not made again: that takes a new pod. What programs have made is not touched.
func (h *Host) Repair(ctx context.Context, a Attachment) error {
	list, err := a.list()
	if err != nil {
		return err
	}
	release, err := h.shareHost()
	if err != nil {
		return err
	}
	defer release()
	rt := a.runtimeConf("")
	prev, err := h.cni(nil).GetNetworkListCachedResult(list, rt)
	if err != nil || prev == nil {
		return errors.Join(fmt.Errorf("repair network %q: what it answered to ADD is lost", a.Network), err)
	}
	x := &pluginExec{host: h, list: list}
	inject := map[string]any{"name": list.Name, "cniVersion": list.CNIVersion, "prevResult": prev}
	for _, p := range list.Plugins {
		if conf.Builtin(p.Network.Type) {
			if err := x.run(ctx, "REPAIR", p, inject, rt); err != nil {
				return fmt.Errorf("repair network %q: plugin %s: %w", a.Network, p.Network.Type, err)
			}
		}
	}
	return nil
}

// Status asks every plugin of a network whether it is ready to ADD: CNI's STATUS, which configurations before 1.1.0 do not have.
func (h *Host) Status(ctx context.Context, conflist []byte) error {
	list, err := libcni.NetworkConfFromBytes(conflist)
	if err != nil {
		return err
	}
	return h.cni(&pluginExec{host: h, list: list}).GetStatusNetworkList(ctx, list)
}

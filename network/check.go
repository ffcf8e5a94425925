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

// Status asks every plugin of a network whether it is ready to ADD: CNI's STATUS, which configurations before 1.1.0 do not have.
func (h *Host) Status(ctx context.Context, conflist []byte) error {
	list, err := libcni.NetworkConfFromBytes(conflist)
	if err != nil {
		return err
	}
	return h.cni(&pluginExec{host: h, list: list}).GetStatusNetworkList(ctx, list)
}

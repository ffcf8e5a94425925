package network

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"

	"github.com/gantryrun/gantry/network/conf"
)

// Detach runs DEL of the attachment's chain. It is idempotent and needs nothing of what Attach needed: netns may be empty,
// then only what lies outside the namespace is removed. With the namespace at hand, the built-in plugins leave the
// removal of the veth pair to its end, which the kernel does by itself and nobody waits for.
func (h *Host) Detach(ctx context.Context, a Attachment, netns string) error {
	list, err := a.list()
	if err != nil {
		return err
	}
	return h.detach(ctx, a, list, netns, netns == "")
}

// detach runs DEL of every plugin, the last first. libcni would stop at the first that fails, and leave what the others
// have made for as long as that one does; links says whether built-in plugins delete the veth pair and wait for it.
func (h *Host) detach(ctx context.Context, a Attachment, list *libcni.NetworkConfigList, netns string, links bool) error {
	unlock, err := h.lockResult(a, 0)
	switch {
	case err == nil:
		defer unlock()
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("detach from network %q: %w", a.Network, err)
	}
	stop, err := h.withDHCP(ctx, a, list)
	var errs []error
	if err != nil {
		errs = append(errs, fmt.Errorf("detach from network %q: %w", a.Network, err))
	}
	x := &pluginExec{host: h, list: list, links: links}
	rt := a.runtimeConf(netns)
	inject := map[string]any{"name": list.Name, "cniVersion": list.CNIVersion}
	if conf.Executes(list) { // ours need none
		if x.former, err = h.formerResult(a, list); err != nil {
			errs = append(errs, fmt.Errorf("detach from network %q: %w", a.Network, err))
		}
		if knows, err := version.GreaterThanOrEqualTo(list.CNIVersion, "0.4.0"); err == nil && knows && x.former != nil {
			inject["prevResult"] = x.former
		}
	}
	for _, p := range slices.Backward(list.Plugins) {
		if err := x.del(ctx, p, inject, rt); err != nil && !slices.Contains(h.Skip, p.Network.Type) {
			errs = append(errs, fmt.Errorf("detach from network %q: plugin %s: %w", a.Network, p.Network.Type, err))
		}
	}
	if err := errors.Join(append(errs, stop())...); err != nil {
		return err
	}
	for _, file := range []string{h.resultFile(a), h.formerFile(a)} {
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("detach from network %q: %w", a.Network, err)
		}
	}
	return nil
}

// del runs DEL of one plugin. Without a namespace every plugin has to do what is left for it to do, but some (sbr of
// containernetworking, say) refuse to work, and would keep a dead pod from ever being removed. They get an empty namespace in the place
// of the one that is gone, and find nothing in it. Those that would leave rules get one in which they find the pod's addresses.
func (x *pluginExec) del(ctx context.Context, p *libcni.PluginConfig, inject map[string]any, rt *libcni.RuntimeConf) error {
	lacks := rt.NetNS == "" && !conf.Builtin(p.Network.Type)
	var former types.Result
	var err error
	if lacks && leavesRules(p) {
		former = x.former
	} else if err = x.run(ctx, "DEL", p, inject, rt); err == nil || !lacks || errors.Is(err, errKilled) {
		return err
	}
	ns, path, nerr := standIn(rt.IfName, former)
	if nerr != nil {
		return errors.Join(err, nerr)
	}
	defer func() { _ = ns.Close() }()
	there := *rt
	there.NetNS = path
	if serr := x.run(ctx, "DEL", p, inject, &there); serr == nil || err == nil {
		return serr
	}
	return err
}

// run runs a command of one plugin that has no result.
func (x *pluginExec) run(ctx context.Context, command string, p *libcni.PluginConfig, inject map[string]any, rt *libcni.RuntimeConf) error {
	path, err := x.FindInPath(p.Network.Type, x.host.PluginDirs)
	if err != nil && command == "DEL" {
		return fmt.Errorf("%w: install it again, or leave what it made: gantry gc --skip-plugin=%s", err, p.Network.Type)
	}
	if err != nil {
		return err
	}
	runtimeConfig := map[string]any{}
	for capability, data := range rt.CapabilityArgs {
		if p.Network.Capabilities[capability] {
			runtimeConfig[capability] = data
		}
	}
	full, err := libcni.InjectConf(p, inject)
	if err == nil && len(runtimeConfig) > 0 {
		full, err = libcni.InjectConf(full, map[string]any{"runtimeConfig": runtimeConfig})
	}
	if err != nil {
		return err
	}
	return invoke.ExecPluginWithoutResult(ctx, path, full.Bytes, &invoke.Args{
		Command: command, ContainerID: rt.ContainerID, NetNS: rt.NetNS, IfName: rt.IfName, PluginArgs: rt.Args,
		Path: strings.Join(x.host.PluginDirs, string(os.PathListSeparator)),
	}, x)
}

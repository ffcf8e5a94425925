package network

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/containernetworking/cni/libcni"
	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/network/conf"
	"github.com/gantryrun/gantry/network/rules"
)

// Repair puts back what the built-in plugins of the attachment's chain have on the host and somebody has taken away: rules,
// leases, routes, sysctls. Interfaces are not made again: that takes a new pod. What programs have made is not touched.
func (h *Host) Repair(ctx context.Context, a Attachment) error {
	release, err := h.shareHost()
	if err != nil {
		return err
	}
	defer release()
	return h.repair(ctx, a, func(*libcni.PluginConfig) bool { return true })
}

// repair is Repair by those plugins that which says.
func (h *Host) repair(ctx context.Context, a Attachment, which func(*libcni.PluginConfig) bool) error {
	list, err := a.list()
	if err != nil {
		return err
	}
	unlock, err := h.lockResult(a, unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return fmt.Errorf("repair network %q: another gantry is at it, or takes it down", a.Network)
	}
	if err != nil {
		return fmt.Errorf("repair network %q: what it answered to ADD is lost: %w", a.Network, err)
	}
	defer unlock()
	rt := a.runtimeConf("")
	prev, err := h.cni(nil).GetNetworkListCachedResult(list, rt)
	if err != nil || prev == nil {
		return errors.Join(fmt.Errorf("repair network %q: what it answered to ADD is lost", a.Network), err)
	}
	x := &pluginExec{host: h, list: list}
	inject := map[string]any{"name": list.Name, "cniVersion": list.CNIVersion, "prevResult": prev}
	for _, p := range list.Plugins {
		if conf.Builtin(p.Network.Type) && which(p) {
			if err := x.run(ctx, "REPAIR", p, inject, rt); err != nil {
				return fmt.Errorf("repair network %q: plugin %s: %w", a.Network, p.Network.Type, err)
			}
		}
	}
	return nil
}

// restoreRules puts what every pod of this host had in the table of rules into a new one: somebody has deleted theirs (`nft flush ruleset`).
// The caller shares the host. What cannot be restored is no matter of the pod that happens to come next: `network check` names it.
func (h *Host) restoreRules(ctx context.Context) {
	known, err := h.Register()
	if err != nil {
		return
	}
	networks := map[string]bool{}
	for _, a := range known {
		_ = h.repair(ctx, a.Attachment, func(p *libcni.PluginConfig) bool {
			if p.Network.Type == conf.TypePTP && !networks[a.Network] {
				networks[a.Network] = true
				_, _ = rules.Ensure(networkGroup(a.Network))
			}
			return p.Network.Type == conf.TypePortmap
		})
	}
}

// lockResult keeps an attachment from being detached while it is repaired: what belongs to nobody would be put back. It is fs.ErrNotExist if it is
// detached, or has never been attached. how is 0 or LOCK_NB.
func (h *Host) lockResult(a Attachment, how int) (unlock func(), err error) {
	f, err := os.Open(h.resultFile(a))
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|how); err == nil {
		err = unix.Fstat(int(f.Fd()), &st)
	}
	if err == nil && st.Nlink == 0 {
		err = fs.ErrNotExist
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return func() { _ = f.Close() }, nil
}

// resultFile is where libcni keeps the result of ADD.
func (h *Host) resultFile(a Attachment) string {
	return filepath.Join(h.resultDir(), "results", fmt.Sprintf("%s-%s-%s", a.Network, a.PodID, a.IfName))
}

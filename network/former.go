package network

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"

	"github.com/gantryrun/gantry/network/conf"
	"github.com/gantryrun/gantry/network/lease"
)

// formerResult is what is known of an attachment's ADD, for the DEL of programs: its result, else, where it was cut short, the addresses that
// were leased for it, by which CNI's firewall finds its rules. It is nil where nothing is known. A file keeps the addresses until Detach is over:
// the lease is given back before the rest is done.
func (h *Host) formerResult(a Attachment, list *libcni.NetworkConfigList) (types.Result, error) {
	// A damaged file is as good as none.
	rt := a.runtimeConf("")
	if prev, err := h.cni(nil).GetNetworkListCachedResult(list, rt); err == nil && prev != nil {
		return prev, nil
	}
	res := &types100.Result{}
	if data, err := os.ReadFile(h.formerFile(a)); err != nil || json.Unmarshal(data, res) != nil {
		if res, err = h.leased(a, list); err != nil || res.IPs == nil {
			return nil, err
		}
		if data, err = json.Marshal(res); err == nil {
			err = os.MkdirAll(filepath.Dir(h.formerFile(a)), 0o755)
		}
		if err == nil {
			err = os.WriteFile(h.formerFile(a), data, 0o600)
		}
		if err != nil {
			return nil, fmt.Errorf("keep addresses: %w", err)
		}
	}
	return res.GetAsVersion(list.CNIVersion)
}

func (h *Host) formerFile(a Attachment) string {
	return filepath.Join(h.resultDir(), "former", filepath.Base(h.resultFile(a)))
}

// leased is a result of the addresses that host-local, or the built-in plugin in its place, has written down for an attachment.
func (h *Host) leased(a Attachment, list *libcni.NetworkConfigList) (*types100.Result, error) {
	res := &types100.Result{CNIVersion: types100.ImplementedSpecVersion}
	for _, p := range list.Plugins {
		_, lc, err := readLeasesConf(p.Bytes)
		if err != nil {
			continue // of a plugin of another kind
		}
		dir := lc.DataDir
		switch {
		case lc.Type == conf.TypeLeases && dir == "":
			dir = h.leaseDir()
		case lc.Type == "host-local" && dir == "":
			dir = "/var/lib/cni/networks"
		case lc.Type != conf.TypeLeases && lc.Type != "host-local":
			continue
		}
		addrs, err := lease.Pool{Dir: filepath.Join(dir, list.Name)}.Search(lease.Owner{ID: a.PodID, IfName: a.IfName})
		if err != nil {
			return nil, err
		}
		for _, ip := range addrs {
			res.IPs = append(res.IPs, &types100.IPConfig{Address: toIPNet(hostPrefix(ip))})
		}
	}
	return res, nil
}

// leavesRules says whether a program is one of those that do not look after their rules when the namespace is gone: bridge and ptp of
// containernetworking look up in it whom they masquerade (containernetworking/plugins#810).
func leavesRules(p *libcni.PluginConfig) bool {
	var c struct {
		IPMasq      bool `json:"ipMasq"`
		MACSpoofChk bool `json:"macspoofchk"`
	}
	return json.Unmarshal(p.Bytes, &c) == nil && (c.IPMasq || c.MACSpoofChk)
}

// standIn makes a namespace in the place of one that is gone, with an interface that has the addresses of a former result.
func standIn(ifName string, former types.Result) (ns *os.File, path string, err error) {
	if ns, err = newNamespace(); err != nil {
		return nil, "", err
	}
	path = fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), ns.Fd())
	if former == nil {
		return ns, path, nil
	}
	err = inNamespace(path, func(in *namespace) error {
		res, err := types100.GetResult(former)
		if err != nil {
			return err
		}
		attrs := netlink.NewLinkAttrs()
		attrs.Name = ifName
		link := &netlink.Veth{LinkAttrs: attrs, PeerName: "peer"}
		if err := in.nl.LinkAdd(link); err != nil {
			return fmt.Errorf("make an interface in the place of %s: %w", ifName, err)
		}
		for _, a := range resultAddrs(res) {
			if err := in.nl.AddrAdd(link, newAddr(hostPrefix(a), 0)); err != nil {
				return fmt.Errorf("add address %s to it: %w", a, err)
			}
		}
		return nil
	})
	if err != nil {
		_ = ns.Close()
		return nil, "", err
	}
	return ns, path, nil
}

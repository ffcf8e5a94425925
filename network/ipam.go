package network

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/types/create"

	"github.com/gantryrun/gantry/network/conf"
	"github.com/gantryrun/gantry/network/lease"
)

// leasesConf is host-local's configuration. Several ranges in one list give one address, several lists one each.
type leasesConf struct {
	Type    string        `json:"type"`
	Ranges  [][]rangeConf `json:"ranges"`
	Routes  []types.Route `json:"routes"`
	DataDir string        `json:"dataDir"`
	rangeConf
}

type rangeConf struct {
	Subnet     netip.Prefix `json:"subnet"`
	RangeStart netip.Addr   `json:"rangeStart"`
	RangeEnd   netip.Addr   `json:"rangeEnd"`
	Gateway    netip.Addr   `json:"gateway"`
}

// runIPAM runs an IPAM plugin for gantry-ptp: gantry-leases in process, others as programs. Only ADD has a result; last is
// called by DEL if gantry-leases has no other lease.
func (c *call) runIPAM(ctx context.Context, ipamType string, last func() error) (*types100.Result, error) {
	if ipamType == "" {
		return nil, fmt.Errorf("%w: no ipam in it", errUnreadable)
	}
	path, err := c.exec.FindInPath(ipamType, c.exec.host.PluginDirs)
	if err != nil {
		return nil, err
	}
	if path == builtinDir+conf.TypeLeases { // spares a round trip through JSON
		if c.command == "DEL" {
			return nil, c.leasesDel(last)
		}
		return c.run(ctx, conf.TypeLeases)
	}
	if c.command == "REPAIR" {
		return nil, nil // which programs do not know
	}
	out, err := c.exec.ExecPlugin(ctx, path, c.stdin, c.environ)
	if err != nil {
		return nil, fmt.Errorf("ipam plugin %s: %w", ipamType, err)
	}
	if c.command != "ADD" {
		return nil, nil
	}
	r, err := create.CreateFromBytes(out)
	if err != nil {
		return nil, fmt.Errorf("ipam plugin %s: read result: %w", ipamType, err)
	}
	return types100.GetResult(r)
}

func (c *call) leasesAdd() (*types100.Result, error) {
	pc, lc, err := readLeasesConf(c.stdin)
	if err != nil {
		return nil, err
	}
	sets, err := lc.sets()
	if err != nil {
		return nil, err
	}
	want, err := c.wantedIPs(pc)
	if err != nil {
		return nil, err
	}
	if err := c.onePool(pc.Name, lc); err != nil {
		return nil, err
	}
	leases, err := c.pool(pc.Name, lc).Acquire(c.owner(), sets, want)
	if err != nil {
		return nil, inUse(err)
	}
	res := &types100.Result{CNIVersion: types100.ImplementedSpecVersion}
	for _, l := range leases {
		res.IPs = append(res.IPs, &types100.IPConfig{
			Address: toIPNet(netip.PrefixFrom(l.Addr, l.Range.Subnet.Bits())), Gateway: l.Range.Gateway.AsSlice(),
		})
	}
	for i := range lc.Routes {
		res.Routes = append(res.Routes, &lc.Routes[i])
	}
	return res, nil
}

func (c *call) leasesDel(last func() error) error {
	pc, lc, err := readLeasesConf(c.stdin)
	if err != nil {
		return err
	}
	return c.pool(pc.Name, lc).Release(c.owner(), last)
}

// podAddrs gives the addresses that this attachment has, for DEL: its leases, as those cannot meanwhile be another pod's.
// Only where another IPAM plugin hands out addresses is it what the chain remembers.
func (c *call) podAddrs(pc *pluginConf) ([]netip.Addr, error) {
	for _, p := range c.exec.list.Plugins {
		if p.Network.IPAM.Type != conf.TypeLeases {
			continue
		}
		_, lc, err := readLeasesConf(p.Bytes)
		if err != nil {
			return nil, err
		}
		return c.pool(c.exec.list.Name, lc).Held(c.owner())
	}
	if len(pc.RawPrevResult) == 0 {
		return nil, nil
	}
	prev, err := c.prevResult(&pc.PluginConf)
	if err != nil {
		return nil, err
	}
	return resultAddrs(prev), nil
}

// resultAddrs are the addresses of a result.
func resultAddrs(r *types100.Result) []netip.Addr {
	var addrs []netip.Addr
	for _, ip := range r.IPs {
		if a, ok := netip.AddrFromSlice(ip.Address.IP); ok {
			addrs = append(addrs, a.Unmap())
		}
	}
	return addrs
}

func readLeasesConf(data []byte) (*pluginConf, *leasesConf, error) {
	var pc pluginConf
	if err := readConf(data, &pc); err != nil {
		return nil, nil, err
	}
	var ipam struct {
		IPAM leasesConf `json:"ipam"`
	}
	if err := readConf(data, &ipam); err != nil {
		return nil, nil, err
	}
	return &pc, &ipam.IPAM, nil
}

func (c *call) owner() lease.Owner { return lease.Owner{ID: c.containerID, IfName: c.ifName} }

// pool is where the leases of a network are. A dataDir of the user's (to share it with host-local) has its index beside it.
func (c *call) pool(network string, lc *leasesConf) lease.Pool {
	dir := lc.DataDir
	if dir == "" {
		dir = c.exec.host.leaseDir()
	}
	// A network's name cannot begin with a dot, so the index is nobody's leases.
	return lease.Pool{Dir: filepath.Join(dir, network), Index: filepath.Join(dir, ".index", network)}
}

// onePool refuses to lease from a second directory under the name of a network that has leases in another: both would hand out the same
// addresses. A file remembers a directory that is not the usual one.
func (c *call) onePool(network string, lc *leasesConf) error {
	was, owned, err := c.otherPool(network, lc)
	if err != nil || was == lc.DataDir {
		return err
	}
	if owned {
		return fmt.Errorf("network %q has pods whose addresses are leased in another dataDir, %q: end them first, or give the network another name", network, was)
	}
	if lc.DataDir == "" {
		return os.Remove(c.poolFile(network))
	}
	if err := os.MkdirAll(filepath.Dir(c.poolFile(network)), 0o755); err != nil {
		return fmt.Errorf("remember dataDir: %w", err)
	}
	return os.WriteFile(c.poolFile(network), []byte(lc.DataDir), 0o644)
}

// otherPool gives the directory that the network's addresses were last leased in, and whether somebody holds one there, if it is not lc's.
func (c *call) otherPool(network string, lc *leasesConf) (dir string, owned bool, err error) {
	was, err := os.ReadFile(c.poolFile(network))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", false, fmt.Errorf("look up leases: %w", err)
	}
	if dir = string(was); dir == lc.DataDir {
		return dir, false, nil
	}
	owned, err = c.pool(network, &leasesConf{DataDir: dir}).Owned()
	return dir, owned, err
}

func (c *call) poolFile(network string) string {
	return filepath.Join(c.exec.host.runDir(), "leases", ".pools", network)
}

func (lc *leasesConf) sets() ([]lease.RangeSet, error) {
	confs := lc.Ranges
	if lc.Subnet.IsValid() {
		confs = append([][]rangeConf{{lc.rangeConf}}, confs...)
	}
	if len(confs) == 0 {
		return nil, errors.New("no ranges in the configuration")
	}
	sets := make([]lease.RangeSet, len(confs))
	for i, rs := range confs {
		if len(rs) == 0 {
			return nil, errors.New("an empty list of ranges in the configuration")
		}
		for _, rc := range rs {
			r := lease.Range{Subnet: rc.Subnet, Start: rc.RangeStart, End: rc.RangeEnd, Gateway: rc.Gateway}
			if err := r.Complete(); err != nil {
				return nil, err
			}
			if r.Subnet.Addr().Is4() != rs[0].Subnet.Addr().Is4() {
				return nil, fmt.Errorf("subnets %s and %s, of different families, in one list", rs[0].Subnet, r.Subnet)
			}
			sets[i] = append(sets[i], r)
		}
	}
	return sets, nil
}

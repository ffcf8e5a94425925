package network

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/network/audit"
)

// The host has a route to each pod's address, and with the pod goes its route. What others still send to that address would take the host's
// default route, and leave: clients of a dead pod, in clear, to whoever has the address out there. So a subnet whose pods are all on this host
// (they are masqueraded, or restricted) is unreachable where it is no pod's: one route for each, with a metric after all others, as long as the
// network has a pod. Pods that are routed under their own addresses may have neighbours of the same subnet elsewhere; and where the host has a
// route of its own, but the default one, to all of the subnet, that is where the rest of it is.

// noPod is the metric.
const noPod = 1<<31 - 1

// subnetDir has a file for each such route, made before the route is, and written when it stands.
func (c *call) subnetDir() string {
	return filepath.Join(c.exec.host.runDir(), "leases", ".subnets", c.exec.list.Name)
}

// closeSubnets makes the routes that are not there; again is for who does not believe the files. Looking for routes of the host's own costs
// what it has routes, so this is for the first pod of a network.
func (v *veth) closeSubnets(nl *netlink.Handle, again bool) error {
	if v.subnets == "" {
		return nil
	}
	var all []netlink.Route
	for _, e := range v.ends {
		p := e.addr.Masked()
		file := filepath.Join(v.subnets, strings.ReplaceAll(p.String(), "/", ","))
		if data, err := os.ReadFile(file); err == nil && len(data) > 0 && !again {
			continue
		}
		err := remember(v.subnets, filepath.Base(file))
		if err == nil && all == nil {
			all, err = hostRoutes()
		}
		if err == nil && covering(all, p) == nil {
			err = nl.RouteAdd(unreachable(p))
		}
		if err == nil || errors.Is(err, unix.EEXIST) {
			err = os.WriteFile(file, []byte("settled"), 0o644)
		}
		if err != nil {
			return fmt.Errorf("make the rest of %s unreachable: %w", p, err)
		}
	}
	return nil
}

func unreachable(p netip.Prefix) *netlink.Route {
	n := toIPNet(p)
	return &netlink.Route{Dst: &n, Type: unix.RTN_UNREACHABLE, Priority: noPod}
}

// hostRoutes are those that a subnet of pods is compared with.
func hostRoutes() ([]netlink.Route, error) {
	all, err := whole(func() ([]netlink.Route, error) { return netlink.RouteList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	return all, nil
}

// closes says whether a route is one of closeSubnets.
func closes(r netlink.Route) bool { return r.Type == unix.RTN_UNREACHABLE && r.Priority == noPod }

// covering is a route of somebody else's to all of p, but not to everything; nil if there is none.
func covering(all []netlink.Route, p netip.Prefix) *netlink.Route {
	i := slices.IndexFunc(all, func(r netlink.Route) bool {
		if r.Dst == nil || closes(r) {
			return false
		}
		dst, err := toPrefix(*r.Dst)
		return err == nil && 0 < dst.Bits() && dst.Bits() <= p.Bits() && dst.Contains(p.Addr())
	})
	if i < 0 {
		return nil
	}
	return &all[i]
}

// checkSubnets asks the kernel for the way to each subnet's own address, which no pod has.
func (v *veth) checkSubnets() error {
	if v.subnets == "" {
		return nil
	}
	for _, e := range v.ends {
		p := e.addr.Masked()
		if _, err := netlink.RouteGet(p.Addr().AsSlice()); err != nil {
			continue
		}
		all, err := hostRoutes()
		if err != nil {
			return err
		}
		if covering(all, p) == nil {
			return fmt.Errorf("the host sends on what is for pods of %s that have ended", p)
		}
	}
	return nil
}

// hiddenRoutes names the routes that came after closeSubnets had closed a part of where they lead, with repair it opens that.
func hiddenRoutes(repair bool) ([]audit.Finding, error) {
	all, err := hostRoutes()
	if err != nil {
		return nil, err
	}
	var found []audit.Finding
	for _, r := range all {
		if !closes(r) || r.Dst == nil {
			continue
		}
		p, err := toPrefix(*r.Dst)
		if err != nil {
			continue
		}
		c := covering(all, p)
		if c == nil || c.Type != unix.RTN_UNICAST && c.Type != unix.RTN_LOCAL {
			continue
		}
		f := audit.Finding{What: "routes", Found: fmt.Sprintf("the host has a route to %s now, and pods' networks hide %s of it", c.Dst, p), Hint: "gantry network check --repair"}
		if repair {
			if err := netlink.RouteDel(unreachable(p)); err != nil && !errors.Is(err, unix.ESRCH) {
				return nil, fmt.Errorf("open %s again: %w", p, err)
			}
			f.OK, f.Repaired, f.Hint = true, true, ""
		}
		found = append(found, f)
	}
	return found, nil
}

// openSubnets takes the routes away; for when the network has no other pod.
func (c *call) openSubnets() error {
	return forget(c.subnetDir(), func(nl *netlink.Handle, name string) error {
		p, err := netip.ParsePrefix(strings.ReplaceAll(name, ",", "/"))
		if err == nil {
			err = nl.RouteDel(unreachable(p))
		}
		if errors.Is(err, unix.ESRCH) {
			return nil
		}
		return err
	})
}

// remember makes a file, if it is not there, that says what is about to be made.
func remember(dir, name string) error {
	file := filepath.Join(dir, name)
	if unix.Access(file, unix.F_OK) == nil {
		return nil
	}
	err := os.MkdirAll(dir, 0o755)
	if err == nil {
		err = os.WriteFile(file, nil, 0o644)
	}
	if err != nil {
		return fmt.Errorf("remember %s: %w", name, err)
	}
	return nil
}

// forget undoes what each file of a directory says, and removes it, then the directory.
func forget(dir string, undo func(nl *netlink.Handle, name string) error) error {
	files, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look up what the network has: %w", err)
	}
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer nl.Close()
	for _, f := range files {
		err := undo(nl, f.Name())
		if err == nil {
			err = os.Remove(filepath.Join(dir, f.Name()))
		}
		if err != nil {
			return fmt.Errorf("take back %s of the network: %w", f.Name(), err)
		}
	}
	return os.Remove(dir)
}

package network

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"

	"github.com/gantryrun/gantry/network/audit"
	"github.com/gantryrun/gantry/network/rules"
)

// Examination looks at the host's network, and with Repair puts back what it can.
type Examination struct {
	Host   *Host
	Repair bool
	Report audit.Report

	state *rules.State
}

// Look begins with what is the host's own: the table of rules, and the firewalls of others.
func (e *Examination) Look(attached []Attached) error {
	e.Report.Version = audit.Version
	if err := e.look(); err != nil {
		e.Report.Add(audit.Finding{What: "rules", Found: err.Error()})
		return nil //nolint:nilerr // that is the answer
	}
	needed := slices.ContainsFunc(attached, func(a Attached) bool { return strings.Contains(string(a.Conflist), `"gantry-ptp"`) })
	f := audit.Finding{What: "rules", OK: true, Found: "table inet gantry is as it should be"}
	switch damage := e.state.Damage(); {
	case damage != "" && !needed:
		f.Found = "no pod needs table inet gantry"
	case damage != "":
		f.OK, f.Found, f.Hint = false, damage, "gantry network check --repair"
		if e.Repair {
			if err := rules.Restore(); err != nil {
				return err
			}
			if err := e.look(); err != nil {
				return err
			}
			f.OK, f.Repaired, f.Hint = e.state.Damage() == "", true, ""
		}
	}
	e.Report.Add(f)
	for _, w := range foreignFirewalls() {
		e.Report.Add(w)
	}
	hidden, err := hiddenRoutes(e.Repair)
	for _, w := range hidden {
		e.Report.Add(w)
	}
	return err
}

func (e *Examination) look() (err error) {
	e.state, err = rules.Read()
	return err
}

// Status adds what the plugins of a configured network say of the next ADD.
func (e *Examination) Status(ctx context.Context, n audit.Network) {
	f := audit.Finding{Network: n.Name, What: "status", OK: true, Found: "ready"}
	if err := e.Host.Status(ctx, n.Conflist); err != nil {
		f.OK, f.Found = false, err.Error()
	}
	e.Report.Add(f)
}

// Check adds what is to be said of one attachment; netns is as for Host.Check.
func (e *Examination) Check(ctx context.Context, a Attachment, netns string) {
	e.CheckAt(ctx, e.Host, a, netns)
}

// CheckAt is Check with the plugins that the pod was made with.
func (e *Examination) CheckAt(ctx context.Context, h *Host, a Attachment, netns string) {
	f := audit.Finding{Pod: a.PodID, IfName: a.IfName, Network: a.Network, What: "attachment", OK: true, Found: "as it was made"}
	if e.state == nil {
		f.OK, f.Found = false, "not looked at: the rules cannot be read"
		e.Report.Add(f)
		return
	}
	if netns == "" {
		f.Found = "as it was made, seen from the host"
	}
	if err := h.check(ctx, a, netns, e.state); err != nil {
		f.OK, f.Found, f.Hint = false, err.Error(), "start the pod again"
		_, damaged := errors.AsType[errDamaged](err)
		if damaged && !e.Repair {
			f.Hint = "gantry network check --repair"
		}
		if e.Repair {
			if again := e.repair(ctx, h, a, netns); again == nil {
				f.OK, f.Repaired, f.Hint = true, true, ""
			} else {
				f.Found = again.Error()
			}
		}
	}
	e.Report.Add(f)
}

// repair gives what is still wrong.
func (e *Examination) repair(ctx context.Context, h *Host, a Attachment, netns string) error {
	err := h.Repair(ctx, a)
	if err := e.look(); err != nil {
		return err
	}
	return errors.Join(h.check(ctx, a, netns, e.state), err)
}

// Leftovers looks for what belongs to no attachment of the register: leases, rules and links of pods whose supervisor was killed in the
// middle of ADD, which gc of their data directory removes. It does not look while a pod is being attached.
func (e *Examination) Leftovers() error {
	if e.state == nil {
		return nil
	}
	release, err := e.Host.ownHost()
	if errors.Is(err, ErrInUse) {
		e.Report.Add(audit.Finding{What: "leftovers", OK: true, Found: "not looked for: a pod is being attached at this moment"})
		return nil
	}
	if err != nil {
		return err
	}
	defer release()
	known, err := e.Host.Register() // again: pods have come and gone
	if err == nil {
		err = e.look()
	}
	if err != nil {
		return err
	}
	found, err := e.Host.leftovers(e.state, known)
	if err != nil {
		return err
	}
	if found == nil {
		e.Report.Add(audit.Finding{What: "leftovers", OK: true, Found: "none"})
	}
	for _, what := range found {
		e.Report.Add(audit.Finding{What: "leftovers", Found: what, Hint: "gantry gc, with the --dir that the pod was in"})
	}
	return nil
}

func (h *Host) leftovers(state *rules.State, known []Attached) ([]string, error) {
	owners, names := map[string]bool{}, map[string]bool{}
	for _, a := range known {
		owners[a.PodID+"-"+a.IfName], owners[a.PodID] = true, true
		for _, class := range []rules.Class{rules.Masqueraded, rules.Restricted, rules.Routed} {
			names[hostLinkName(class, a.PodID, a.IfName)] = true
		}
	}
	var found []string
	for _, owner := range state.Owners() {
		if !owners[owner] {
			found = append(found, "published ports of pod "+owner)
		}
	}
	leases, err := filepath.Glob(filepath.Join(h.runDir(), "leases", ".index", "*", "*"))
	if err != nil {
		return nil, err
	}
	for _, l := range leases {
		if !owners[filepath.Base(l)] {
			found = append(found, fmt.Sprintf("leases of %s in network %s", filepath.Base(l), filepath.Base(filepath.Dir(l))))
		}
	}
	links, err := netlink.LinkList()
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, fmt.Errorf("list links: %w", err)
	}
	for _, l := range links {
		if name := l.Attrs().Name; strings.HasPrefix(name, rules.LinkPrefix) && l.Type() == "veth" && !names[name] {
			found = append(found, "the interface "+name)
		}
	}
	return found, nil
}

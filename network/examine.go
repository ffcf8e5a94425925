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

// Detach adds that an attachment is abandoned by a pod that is not in sight, and with Repair detaches it. If it is in a data directory that still is
// there, gc finds nothing left to do.
func (e *Examination) Detach(ctx context.Context, a Attached) {
	f := audit.Finding{
		Pod: a.PodID, IfName: a.IfName, Network: a.Network, What: "attachment", Found: "the pod is over and still attached",
		Hint: "gantry gc, with the --dir that it was in; if that is gone, gantry network check --repair",
	}
	if e.Repair {
		if err := e.Host.Detach(ctx, a.Attachment, ""); err != nil {
			f.Found = err.Error()
		} else {
			f.OK, f.Repaired, f.Hint = true, true, ""
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
	links, err := e.Host.strayLinks(known)
	if err != nil {
		return err
	}
	if found == nil && links == nil {
		e.Report.Add(audit.Finding{What: "leftovers", OK: true, Found: "none"})
	}
	for _, what := range found {
		e.Report.Add(audit.Finding{What: "leftovers", Found: what, Hint: "gantry gc, with the --dir that the pod was in"})
	}
	for _, name := range links {
		f := audit.Finding{What: "leftovers", Found: "the interface " + name, Hint: "gantry network check --repair"}
		if e.Repair {
			if err := deleteLink(name); err != nil {
				return err
			}
			f.OK, f.Repaired, f.Hint = true, true, ""
		}
		e.Report.Add(f)
	}
	return nil
}

func (h *Host) leftovers(state *rules.State, known []Attached) ([]string, error) {
	owners := map[string]bool{}
	for _, a := range known {
		owners[a.PodID+"-"+a.IfName], owners[a.PodID] = true, true
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
	return found, nil
}

// strayLinks are host's ends of pods that are attached no more: the kernel takes them away with the pod's namespace, which lives on as long as somebody
// outside of the pod has a descriptor of it, or of a socket in it. That may be an administrator's shell, or another pod whose app was handed it. A pod
// that has a lease, or whose entry in the register is damaged, is not believed to be gone.
func (h *Host) strayLinks(known []Attached) ([]string, error) {
	names := map[string]bool{}
	add := func(pod, ifName string) {
		for _, class := range []rules.Class{rules.Masqueraded, rules.Restricted, rules.Routed} {
			names[hostLinkName(class, pod, ifName)] = true
		}
	}
	for _, a := range known {
		add(a.PodID, a.IfName)
	}
	leases, _ := filepath.Glob(filepath.Join(h.runDir(), "leases", ".index", "*", "*")) // the pattern is well formed
	entries, _ := filepath.Glob(filepath.Join(h.resultDir(), "results", "*"))
	for _, path := range slices.Concat(leases, entries) {
		owner := filepath.Base(path)
		if i := strings.LastIndex(owner, "-"); i >= 0 {
			add(owner[max(0, i-uuidLength):i], owner[i+1:])
			add(owner[:i], owner[i+1:])
		}
	}
	links, err := whole(netlink.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	var stray []string
	for _, l := range links {
		if name := l.Attrs().Name; strings.HasPrefix(name, rules.LinkPrefix) && l.Type() == "veth" && !names[name] {
			stray = append(stray, name)
		}
	}
	return stray, nil
}

// uuidLength is that of a pod's ID, which follows the network's name in an entry of the register.
const uuidLength = 36

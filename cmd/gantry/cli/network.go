package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gantryrun/gantry/network/audit"
	"github.com/gantryrun/gantry/network/conf"
	"github.com/gantryrun/gantry/pods"
	"github.com/gantryrun/gantry/pods/printable"
)

func newNetworkCommand(e *env) *cobra.Command {
	return newGroup("network", "Look after networks", newNetworkListCommand(e), newNetworkInspectCommand(e), newNetworkCheckCommand(e))
}

func newNetworkListCommand(e *env) *cobra.Command {
	var format string
	var noLegend bool
	cmd := verb("list [flags]", "List the networks that --net can name", between(0, 0))
	formatVar(cmd.Flags(), &format)
	cmd.Flags().BoolVar(&noLegend, "no-legend", false, "no line of column names")
	cmd.RunE = func(*cobra.Command, []string) error { return runNetworkList(e, format, noLegend) }
	return cmd
}

// networkRow is a configured network, or a file that cannot be one.
type networkRow struct {
	conf.Entry
	Error string `json:"error,omitempty"`
}

func runNetworkList(e *env, format string, noLegend bool) error {
	entries, err := e.networks().List()
	if err != nil {
		return err
	}
	rows := []networkRow{}
	for _, n := range entries {
		row := networkRow{Entry: n}
		if n.Err != nil {
			row.Error = n.Err.Error()
		}
		rows = append(rows, row)
	}
	if isJSON(format) {
		return writeJSON(e.stdout, rows)
	}
	usable := slices.DeleteFunc(slices.Clone(rows), func(r networkRow) bool { return r.Err != nil })
	columns := []column[networkRow]{
		{"name", func(r networkRow) string { return r.Name }},
		{"plugins", func(r networkRow) string { return strings.Join(r.Types, ",") }},
		{"takes", func(r networkRow) string { return strings.Join(r.Capabilities, ",") }},
		{"cni", func(r networkRow) string { return r.CNIVersion }},
		{"file", func(r networkRow) string { return cmp.Or(r.File, "(built in)") }},
	}
	printTable(e.stdout, &table{legend: !noLegend}, columns, "name,plugins,takes,cni,file", usable)
	for _, r := range rows {
		if r.Error != "" {
			e.warn("%s", r.Error)
		}
	}
	return nil
}

func newNetworkInspectCommand(e *env) *cobra.Command {
	var format string
	cmd := verb("inspect [flags] POD|NETWORK", "Show what a pod has of networks, or how a network is configured", between(1, 1))
	formatVar(cmd.Flags(), &format)
	cmd.RunE = func(_ *cobra.Command, args []string) error { return runNetworkInspect(e, args[0], format) }
	return cmd
}

// runNetworkInspect takes a name for a network's first: pods have UUIDs too.
func runNetworkInspect(e *env, name, format string) error {
	n, err := e.networks().Find(name)
	if err == nil {
		return e.printNetwork(&n, format)
	}
	store, perr := e.pods()
	if perr != nil {
		return perr
	}
	pod, perr := store.Open(name)
	if errors.Is(perr, pods.ErrNotFound) && errors.Is(err, conf.ErrNotFound) {
		return withHint(fmt.Errorf("%w: neither a network nor a pod is called %q", pods.ErrNotFound, name), "gantry network list, and gantry list")
	}
	if perr != nil {
		return perr
	}
	defer pod.Close()
	return e.printAttachments(pod, format)
}

func (e *env) printNetwork(n *conf.Entry, format string) error {
	conflist, err := n.Conflist()
	if err != nil {
		return err
	}
	if isJSON(format) {
		return writeJSON(e.stdout, struct {
			*conf.Entry
			Config json.RawMessage `json:"config"`
		}{n, conflist})
	}
	fmt.Fprintf(e.stdout, "name=%s\nfile=%s\nplugins=%s\ntakes=%s\ncni=%s\n", printable.Text(n.Name), printable.Text(cmp.Or(n.File, "(built in)")),
		printable.Text(strings.Join(n.Types, ",")), printable.Text(strings.Join(n.Capabilities, ",")), printable.Text(n.CNIVersion))
	return writeJSON(e.stdout, json.RawMessage(conflist))
}

// attachmentRow is one interface of a pod.
type attachmentRow struct {
	pods.Network
	MAC     string          `json:"mac,omitempty"`
	IPs     []string        `json:"ips,omitempty"`
	Gateway []string        `json:"gateway,omitempty"`
	Ports   []pods.Port     `json:"ports,omitempty"`
	Config  json.RawMessage `json:"config,omitempty"`
}

func (e *env) printAttachments(pod *pods.Pod, format string) error {
	m, err := pod.Manifest()
	if err != nil {
		return err
	}
	state, err := pod.State()
	if err != nil {
		return err
	}
	rows := []attachmentRow{}
	for _, n := range m.Networks {
		row := attachmentRow{Network: n}
		if n.Publish {
			row.Ports = m.Ports
		}
		if row.Config, err = pod.Root().ReadFile(n.Conflist); err != nil {
			return err
		}
		rows = append(rows, row)
	}
	if got, err := pod.Net(); err == nil && state.Live() { // a pod that is over has no address any more
		for i := range rows {
			for _, have := range got.Interfaces {
				if have.IfName == rows[i].IfName {
					rows[i].MAC, rows[i].IPs, rows[i].Gateway = have.MAC, have.IPs, have.Gateway
				}
			}
		}
	}
	if isJSON(format) {
		return writeJSON(e.stdout, map[string]any{"uuid": pod.UUID, "state": state, "net": m.Net, "interfaces": rows})
	}
	if len(rows) == 0 {
		fmt.Fprintf(e.stdout, "pod %s has --net=%s\n", pod.UUID, m.Net)
		return nil
	}
	printTable(e.stdout, &table{legend: true}, attachmentColumns(), "network,interface,addresses,gateways,mac,ports", rows)
	return nil
}

func attachmentColumns() []column[attachmentRow] {
	return []column[attachmentRow]{
		{"network", func(r attachmentRow) string { return r.Name }},
		{"interface", func(r attachmentRow) string { return r.IfName }},
		{"addresses", func(r attachmentRow) string { return strings.Join(r.IPs, ",") }},
		{"gateways", func(r attachmentRow) string { return strings.Join(r.Gateway, ",") }},
		{"mac", func(r attachmentRow) string { return r.MAC }},
		{"ports", func(r attachmentRow) string {
			var all []string
			for _, p := range r.Ports {
				host := fmt.Sprint(p.HostPort)
				if p.HostIP != "" {
					host = p.HostIP + ":" + host
					if strings.Contains(p.HostIP, ":") {
						host = "[" + p.HostIP + "]:" + fmt.Sprint(p.HostPort)
					}
				}
				all = append(all, fmt.Sprintf("%s:%d/%s", host, p.PodPort, p.Protocol))
			}
			return strings.Join(all, ",")
		}},
	}
}

func newNetworkCheckCommand(e *env) *cobra.Command {
	var format string
	var repair bool
	cmd := verb("check [flags]", "Compare the host's network with what the pods should have", between(0, 0))
	formatVar(cmd.Flags(), &format)
	cmd.Flags().BoolVar(&repair, "repair", false, "put back rules, leases and routes that somebody has taken away")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return runNetworkCheck(cmd.Context(), e, repair, format) }
	return cmd
}

func runNetworkCheck(ctx context.Context, e *env, repair bool, format string) error {
	if err := needHost(); err != nil {
		return err
	}
	r, err := e.runtime()
	if err != nil {
		return err
	}
	rep, err := r.CheckNetwork(ctx, repair)
	if err != nil {
		return err
	}
	if isJSON(format) {
		if err := writeJSON(e.stdout, rep); err != nil {
			return err
		}
	} else {
		e.printFindings(rep)
	}
	if n := rep.Wrong(); n > 0 {
		return fmt.Errorf("%d of %d things are not as they should be", n, len(rep.Findings))
	}
	return nil
}

func (e *env) printFindings(rep *audit.Report) {
	for _, f := range rep.Findings {
		mark := "NO"
		switch {
		case f.Repaired && f.OK:
			mark = "fixed"
		case f.OK:
			mark = "ok"
		}
		subject := f.What
		switch {
		case f.Pod != "":
			subject = fmt.Sprintf("%.8s %s", f.Pod, f.IfName)
		case f.Network != "":
			subject = "network " + f.Network
		}
		fmt.Fprintf(e.stdout, "%-5s  %-16s %s\n", mark, printable.Text(subject), printable.Text(oneLine(f.Found)))
		if f.Hint != "" {
			fmt.Fprintf(e.stdout, "       do: %s\n", printable.Text(f.Hint))
		}
	}
}

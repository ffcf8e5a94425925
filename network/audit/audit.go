// Package audit is what looking at the host's network found: the JSON that gantry-stage1, which looks, hands to gantry, which
// prints it. It holds values and nothing else; fields are added, never renamed.
package audit

import "encoding/json"

// Version is of the format.
const Version = "v1"

// Report is one look at the host.
type Report struct {
	Version  string    `json:"version"`
	Findings []Finding `json:"findings"`
}

// Finding is one thing that was looked at.
type Finding struct {
	Pod      string `json:"pod,omitempty"` // UUID; empty: the host's own
	IfName   string `json:"ifName,omitempty"`
	Network  string `json:"network,omitempty"`
	What     string `json:"what"` // attachment, rules, routes, forwarding, firewall, leftovers
	OK       bool   `json:"ok"`
	Repaired bool   `json:"repaired,omitempty"` // it was not, and is now
	Found    string `json:"found"`
	Hint     string `json:"hint,omitempty"` // what to do
}

// Add appends a finding.
func (r *Report) Add(f Finding) { r.Findings = append(r.Findings, f) }

// Wrong counts what is not as it should be.
func (r *Report) Wrong() int {
	n := 0
	for _, f := range r.Findings {
		if !f.OK {
			n++
		}
	}
	return n
}

// Request is what gantry asks gantry-stage1 to look at, or to collect.
type Request struct {
	Version    string    `json:"version"`
	Repair     bool      `json:"repair,omitempty"`
	Networks   []Network `json:"networks,omitempty"` // that are configured
	PluginDirs []string  `json:"pluginDirs,omitempty"`
}

// Network is a configured network, complete.
type Network struct {
	Name     string          `json:"name"`
	Conflist json.RawMessage `json:"conflist"`
}

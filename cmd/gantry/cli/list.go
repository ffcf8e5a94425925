package cli

import (
	"path"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gantryrun/gantry/pods"
	"github.com/gantryrun/gantry/runtime"
)

type listOptions struct {
	full, noLegend, quiet bool
	fields, format        string
	filters               []filter
}

func newListCommand(e *env) *cobra.Command {
	o := &listOptions{}
	cmd := verb("list [flags]", "List pods", between(0, 0))
	cmd.Aliases = []string{"ps"}
	fs := cmd.Flags()
	fs.BoolVar(&o.full, "full", false, "whole UUIDs, image IDs and times")
	alias(fs, "no-trunc", "", "full")
	fs.BoolVarP(&o.quiet, "quiet", "q", false, "only whole UUIDs: --fields=uuid --full --no-legend")
	fs.BoolVar(&o.noLegend, "no-legend", false, "no line of column names")
	fs.StringVar(&o.fields, "fields", "", "`COLUMN,...` of "+strings.Join(columnNames(listColumns(false)), ","))
	formatVar(fs, &o.format)
	fs.BoolP("all", "a", true, "accepted: all pods are listed anyway")
	fs.Lookup("all").Hidden = true
	listVar(fs, &o.filters, "filter", "KEY=VALUE", "only pods with this state=, name=, app=, image= or label=KEY[=VALUE]", parseFilter)
	alias(fs, "", "f", "filter")
	cmd.RunE = func(*cobra.Command, []string) error { return runList(e, o) }
	return cmd
}

func runList(e *env, o *listOptions) error {
	if o.quiet {
		o.fields, o.full, o.noLegend = "uuid", true, true
	}
	columns := listColumns(o.full)
	t, err := newTable(columns, o.fields, o.noLegend)
	if err != nil {
		return err
	}
	store, err := e.pods()
	if err != nil {
		return err
	}
	list, err := runtime.List(store)
	if err != nil {
		return err
	}
	list = slices.DeleteFunc(list, func(s runtime.Summary) bool { return !matchesAll(o.filters, s) })
	if isJSON(o.format) {
		return writeJSON(e.stdout, list)
	}
	printTable(e.stdout, t, columns, "uuid,apps,images,state,created,started,networks,name", list)
	for _, s := range list {
		if s.Error != "" {
			e.warn("pod %s: %s", s.UUID, s.Error)
		}
	}
	return nil
}

func listColumns(full bool) []column[runtime.Summary] {
	when := ago
	if full {
		when = stampOrNothing
	}
	join := func(s runtime.Summary, f func(pods.AppDigest) string) string {
		var parts []string
		for _, a := range s.Apps {
			parts = append(parts, f(a))
		}
		return strings.Join(parts, ",")
	}
	return []column[runtime.Summary]{
		{"uuid", func(s runtime.Summary) string {
			if full {
				return s.UUID
			}
			return s.UUID[:8]
		}},
		{"name", func(s runtime.Summary) string { return s.Name }},
		{"apps", func(s runtime.Summary) string { return join(s, func(a pods.AppDigest) string { return a.Name }) }},
		{"images", func(s runtime.Summary) string {
			return join(s, func(a pods.AppDigest) string {
				if full {
					return a.Image
				}
				return path.Base(a.Image)
			})
		}},
		{"image-ids", func(s runtime.Summary) string {
			return join(s, func(a pods.AppDigest) string {
				if full {
					return a.ImageID
				}
				return shortID(a.ImageID)
			})
		}},
		{"state", func(s runtime.Summary) string { return string(s.State) }},
		{"created", func(s runtime.Summary) string { return when(s.Created) }},
		{"started", func(s runtime.Summary) string { return when(s.Started) }},
		{"finished", func(s runtime.Summary) string { return when(s.Finished) }},
		{"code", exitText},
		{"networks", func(s runtime.Summary) string {
			if s.State.Over() && !full { // its addresses are other pods' by now
				return ""
			}
			return networksText(s.Networks)
		}},
		{"labels", labelsText},
	}
}

// filter is one condition of --filter; several must all hold.
type filter struct{ key, value string }

func parseFilter(s string) (filter, error) {
	key, val, ok := strings.Cut(s, "=")
	if !ok || !slices.Contains([]string{"state", "status", "name", "app", "image", "label"}, key) {
		return filter{}, usagef("%q: want state=, name=, app=, image= or label=", s)
	}
	return filter{key, val}, nil
}

func (f filter) matches(s runtime.Summary) bool {
	switch f.key {
	case "state", "status":
		return string(s.State) == f.value
	case "name":
		return s.Name == f.value
	case "app":
		return slices.ContainsFunc(s.Apps, func(a pods.AppDigest) bool { return a.Name == f.value })
	case "image":
		return slices.ContainsFunc(s.Apps, func(a pods.AppDigest) bool {
			return a.ImageID == f.value || a.Image == f.value || strings.Contains(a.Image, "/"+f.value)
		})
	}
	key, val, exact := strings.Cut(f.value, "=")
	got, ok := s.Labels[key]
	return ok && (!exact || got == val)
}

func matchesAll(filters []filter, s runtime.Summary) bool {
	for _, f := range filters {
		if !f.matches(s) {
			return false
		}
	}
	return true
}

// networksText is "default:ip4=172.16.28.2", as rkt wrote it.
func networksText(nets []pods.Interface) string {
	var parts []string
	for _, n := range nets {
		part := n.Network
		for _, ip := range n.IPs {
			addr, _, _ := strings.Cut(ip, "/")
			family := "ip4"
			if strings.Contains(addr, ":") {
				family = "ip6"
			}
			part += ":" + family + "=" + addr
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ", ")
}

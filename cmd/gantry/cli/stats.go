package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/gantryrun/gantry/pods"
	"github.com/gantryrun/gantry/runtime"
	"github.com/gantryrun/gantry/runtime/stats"
)

type statsOptions struct {
	uuidFile, format string
	noStream         bool
	interval         time.Duration
}

func newStatsCommand(e *env) *cobra.Command {
	o := &statsOptions{interval: 2 * time.Second}
	cmd := verb("stats [flags] [POD...]", "Show what running pods use, again and again", nil)
	cmd.Long = "Show CPU, memory, processes, disk and network of running pods, all of them where none is named.\n" +
		"CPU is per cent of one core: since the app's start at first, then since the line before. Networks are the pod's, on its first app's line.\n" +
		"Dropped are lines that the app's log or the journal does not hold."
	fs := cmd.Flags()
	addUUIDFile(fs, &o.uuidFile)
	fs.BoolVar(&o.noStream, "no-stream", false, "one sample")
	oneVar(fs, &o.interval, "interval", "DURATION", "time between samples (default 2s)", parseDuration)
	formatVar(fs, &o.format)
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return runStats(cmd.Context(), e, o, args) }
	return cmd
}

func runStats(ctx context.Context, e *env, o *statsOptions, args []string) error {
	if o.interval <= 0 {
		return usagef("--interval: want more than nothing")
	}
	store, err := e.pods()
	if err != nil {
		return err
	}
	which := args
	if len(args) > 0 || o.uuidFile != "" {
		if which, err = podArgs(args, o.uuidFile); err != nil {
			return err
		}
	}
	now, err := sample(e, store, which)
	if err != nil {
		return err
	}
	if isJSON(o.format) {
		return writeJSON(e.stdout, now)
	}
	printStats(e.stdout, now, nil)
	if o.noStream {
		return nil
	}
	tick := time.NewTicker(o.interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil // how one leaves it
		case <-tick.C:
		}
		before := now
		if now, err = sample(e, store, which); err != nil {
			return err
		}
		if term.IsTerminal(int(e.stdout.Fd())) {
			fmt.Fprint(e.stdout, "\x1b[H\x1b[J") // to the upper left, and clear
		}
		printStats(e.stdout, now, before)
		if err := e.stdout.failed(); err != nil {
			return err
		}
	}
}

// sample reads the pods that are named, which must run, or all that run.
func sample(e *env, store *pods.Store, which []string) ([]*stats.Pod, error) {
	all := len(which) == 0
	if all {
		var err error
		if which, err = store.UUIDs(); err != nil {
			return nil, err
		}
	}
	list := []*stats.Pod{}
	for _, w := range which {
		pod, err := store.Open(w)
		if all && errors.Is(err, pods.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		p, err := runtime.ReadStats(pod)
		_ = pod.Close()
		switch {
		case err == nil:
			list = append(list, p)
		case all && errors.Is(err, runtime.ErrState):
		case all:
			e.warn("pod %s: %v", w, err)
		default:
			return nil, err
		}
	}
	return list, nil
}

// statsRow is an app, beside its pod and the sample before.
type statsRow struct {
	pod    *stats.Pod
	app    stats.App
	before *stats.App
	passed time.Duration // since before, or since the app's start
	first  bool          // of its pod
}

func printStats(w io.Writer, now, before []*stats.Pod) {
	var rows []statsRow
	for _, p := range now {
		for i, a := range p.Apps {
			r := statsRow{pod: p, app: a, first: i == 0, passed: p.Time.Sub(a.Started)}
			r.findBefore(before)
			rows = append(rows, r)
		}
	}
	printTable(w, &table{legend: true}, statsColumns(), "pod,app,cpu,memory,limit,pids,read,written,received,sent,dropped", rows)
}

func (r *statsRow) findBefore(before []*stats.Pod) {
	for _, p := range before {
		for i := range p.Apps {
			if p.UUID == r.pod.UUID && p.Apps[i].Name == r.app.Name && p.Apps[i].Started.Equal(r.app.Started) {
				r.before, r.passed = &p.Apps[i], r.pod.Time.Sub(p.Time)
			}
		}
	}
}

func (r statsRow) cpu() string {
	if r.app.CPU == nil || r.passed <= 0 {
		return "-"
	}
	used := *r.app.CPU
	if r.before != nil && r.before.CPU != nil {
		used -= *r.before.CPU
	}
	return fmt.Sprintf("%.1f%%", 100*max(0, used)/r.passed.Seconds())
}

func (r statsRow) traffic(of func(stats.Interface) uint64) string {
	if !r.first || len(r.pod.Networks) == 0 {
		return "-"
	}
	var sum uint64
	for _, n := range r.pod.Networks {
		sum += of(n)
	}
	return size(int64(sum))
}

func statsColumns() []column[statsRow] {
	bytes := func(of func(stats.App) *uint64) func(statsRow) string {
		return func(r statsRow) string {
			if n := of(r.app); n != nil {
				return size(int64(*n))
			}
			return "-"
		}
	}
	return []column[statsRow]{
		{"pod", func(r statsRow) string {
			if r.pod.Name != "" {
				return r.pod.Name
			}
			return r.pod.UUID[:8]
		}},
		{"app", func(r statsRow) string { return r.app.Name }},
		{"cpu", statsRow.cpu},
		{"memory", bytes(func(a stats.App) *uint64 { return a.WorkingSet })},
		{"limit", bytes(func(a stats.App) *uint64 { return a.MemoryLimit })},
		{"pids", func(r statsRow) string {
			if r.app.PIDs == nil {
				return "-"
			}
			return fmt.Sprint(*r.app.PIDs)
		}},
		{"read", bytes(func(a stats.App) *uint64 { return a.ReadBytes })},
		{"written", bytes(func(a stats.App) *uint64 { return a.WriteBytes })},
		{"received", func(r statsRow) string { return r.traffic(func(n stats.Interface) uint64 { return n.ReceiveBytes }) }},
		{"sent", func(r statsRow) string { return r.traffic(func(n stats.Interface) uint64 { return n.TransmitBytes }) }},
		{"dropped", func(r statsRow) string { return fmt.Sprint(r.app.DroppedLines) }},
	}
}

func newMetricsCommand(e *env) *cobra.Command {
	cmd := verb("metrics", "Print the state of all pods as OpenMetrics text", between(0, 0))
	cmd.Long = "Print the state and use of all pods as OpenMetrics text. For node_exporter's textfile collector:\n" +
		"  gantry metrics >gantry.prom.new && mv gantry.prom.new /var/lib/node_exporter/gantry.prom"
	cmd.RunE = func(*cobra.Command, []string) error {
		store, err := e.pods()
		if err != nil {
			return err
		}
		return runtime.WriteMetrics(e.stdout, store)
	}
	return cmd
}

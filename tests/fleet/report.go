package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// row is a step's line of the table.
type row struct {
	step
	figure string
	took   time.Duration
	err    error
}

const preface = `# A fleet

What ` + "`make fleet`" + ` did, saw and measured: %d hosts with a real systemd each (namespaces on one machine, joined by a bridge), %d pods on each,
5 apps in each pod: route, HAProxy, export, app, announce. One templated unit, [pod@.service](../examples/fleet/pod@.service); static addresses by macvlan; images
signed in cosign's format, from a registry with TLS, under a policy that rejects everything else; 4 volumes and 24 KB of JSON in the environment each. Units,
rollouts and rollbacks are those of [examples/fleet](../examples/fleet), word for word.

This file is written by that program (tests/fleet), on %s: %s, %d CPUs, %s of memory, Linux %s, load %s at the end. It took %.0f s.

| step | has to hold | what came out | holds | the step took |
|---|---|---|---|---|
`

// report is docs/fleet.md.
func report(s settings, rows []row) string {
	var total time.Duration
	for _, r := range rows {
		total += r.took
	}
	var out strings.Builder
	fmt.Fprintf(&out, preface, s.hosts, s.pods, time.Now().Format("2006-01-02"), processor(), runtime.NumCPU(), memory(), release(), load(), total.Seconds())
	for _, r := range rows {
		holds := "yes"
		if r.err != nil {
			holds = "**no**: " + strings.NewReplacer("\n", " ", "|", "/").Replace(fmt.Sprintf("%.300v", r.err))
		}
		fmt.Fprintf(&out, "| %s | %s | %s | %s | %.1f s |\n", r.name, r.target, r.figure, holds, r.took.Seconds())
	}
	out.WriteString(notes)
	return out.String()
}

const notes = `
"Cold" means that no host had any image; the machine's page cache was not emptied. The hosts share one kernel and its CPUs, so times are of this machine under the
load of all hosts together. The kernel, and so cgroups (v1 here), are the machine's. Each host has its own copy of gantry's programs, so a pod's share of their memory is
larger than on a machine where all pods share one. Programs are replaced by the same ones under new inodes: there is no older release yet. What the client sees while
processes are killed is a figure, and not asserted.
`

func processor() string {
	data, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown processor"
	}
	_, rest, _ := strings.Cut(string(data), "model name")
	name, _, _ := strings.Cut(rest, "\n")
	return strings.TrimLeft(name, "\t :")
}

func memory() string {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return "unknown"
	}
	return fmt.Sprintf("%.0f GB", float64(info.Totalram)*float64(info.Unit)/(1<<30))
}

func release() string {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return "unknown"
	}
	number, _, _ := strings.Cut(unix.ByteSliceToString(uts.Release[:]), "-") // what follows is a name that its builder gave it
	return number
}

func load() string {
	data, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(data))[:2], ", ")
}

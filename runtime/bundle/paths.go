package bundle

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// maskedPaths an app sees as empty: what Docker, podman and rkt mask, together. They tell about the host, or let a
// process change it where a kernel check was forgotten.
var maskedPaths = []string{
	"/proc/acpi", "/proc/asound", "/proc/config.gz", "/proc/interrupts", "/proc/kallsyms", "/proc/kcore", "/proc/keys",
	"/proc/kpagecgroup", "/proc/kpagecount", "/proc/kpageflags", "/proc/latency_stats", "/proc/sched_debug",
	"/proc/scsi", "/proc/slabinfo", "/proc/timer_list", "/proc/timer_stats", "/proc/vmallocinfo",
	"/sys/dev/block", "/sys/devices/virtual/powercap", "/sys/firmware", "/sys/fs/bpf", "/sys/fs/selinux",
	"/sys/hypervisor", "/sys/kernel/debug", "/sys/kernel/tracing", "/sys/module", "/sys/power",
}

// readonlyPaths an app may read but not write.
var readonlyPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}

// ParseUnmask parses a path of /proc or /sys to leave visible and writable; "all" is every one.
func ParseUnmask(s string) (string, error) {
	if s == "all" || s == "ALL" {
		return "all", nil
	}
	clean := path.Clean(s)
	if !strings.HasPrefix(clean, "/proc/") && !strings.HasPrefix(clean, "/sys/") {
		return "", fmt.Errorf("%q: want a path below /proc or /sys, or all", clip(s))
	}
	return clean, nil
}

// protectedPaths are the two lists without what was unmasked.
func protectedPaths(in Input) (masked, readonly []string) {
	if in.Pod.Insecure.Paths || slices.Contains(in.App.Unmask, "all") {
		return nil, nil
	}
	keep := func(list []string) []string {
		return slices.DeleteFunc(slices.Clone(list), func(p string) bool { return slices.Contains(in.App.Unmask, p) })
	}
	return keep(maskedPaths), keep(readonlyPaths)
}

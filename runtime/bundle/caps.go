package bundle

import (
	"fmt"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Caps says how an app's capabilities differ from the default. Names carry CAP_.
type Caps struct {
	Retain []string // exactly these
	Remove []string // the default, or all if they are added, without these
	Add    []string // the default, or what is left of it, and these
}

// defaultCaps is what a root app keeps: podman's set without SYS_CHROOT. It lets an image's entrypoint prepare its
// directories and change to the user it serves as (nginx, postgres, redis), and no more. Ports below 1024 and ping need
// nothing: the pod's network namespace allows them to all.
var defaultCaps = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_NET_BIND_SERVICE",
	"CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID",
}

// DefaultCaps are the capabilities that an app of root has where nothing else is said.
func DefaultCaps() []string { return slices.Clone(defaultCaps) }

// knownCaps are all that Linux has, as of 6.18.
var knownCaps = []string{
	"CAP_AUDIT_CONTROL", "CAP_AUDIT_READ", "CAP_AUDIT_WRITE", "CAP_BLOCK_SUSPEND", "CAP_BPF",
	"CAP_CHECKPOINT_RESTORE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID",
	"CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_KILL", "CAP_LEASE", "CAP_LINUX_IMMUTABLE", "CAP_MAC_ADMIN",
	"CAP_MAC_OVERRIDE", "CAP_MKNOD", "CAP_NET_ADMIN", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_RAW",
	"CAP_PERFMON", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYSLOG", "CAP_SYS_ADMIN",
	"CAP_SYS_BOOT", "CAP_SYS_CHROOT", "CAP_SYS_MODULE", "CAP_SYS_NICE", "CAP_SYS_PACCT", "CAP_SYS_PTRACE",
	"CAP_SYS_RAWIO", "CAP_SYS_RESOURCE", "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_WAKE_ALARM",
}

// ParseCaps parses a comma list of capabilities, with or without CAP_, in either case; "all" is every one.
func ParseCaps(s string) ([]string, error) {
	var caps []string
	for name := range strings.SplitSeq(s, ",") {
		name = strings.ToUpper(strings.TrimSpace(name))
		if name == "ALL" {
			return slices.Clone(knownCaps), nil
		}
		if !strings.HasPrefix(name, "CAP_") {
			name = "CAP_" + name
		}
		if _, ok := slices.BinarySearch(knownCaps, name); !ok {
			return nil, fmt.Errorf("unknown capability %q", name)
		}
		caps = append(caps, name)
	}
	return caps, nil
}

// Empty reports whether the default was asked for.
func (c Caps) Empty() bool { return len(c.Retain)+len(c.Remove)+len(c.Add) == 0 }

// apply gives the set that base becomes. Whoever removes all and adds some wants these, and who adds all and removes some the others: so
// Docker and podman understand it.
func (c Caps) apply(base []string) []string {
	set := slices.Clone(base)
	if len(c.Retain) > 0 {
		set = slices.Clone(c.Retain)
	}
	if isAll(c.Add) {
		set = slices.Clone(c.Add)
	}
	set = slices.DeleteFunc(set, func(name string) bool { return slices.Contains(c.Remove, name) })
	if !isAll(c.Add) {
		set = append(set, c.Add...)
	}
	slices.Sort(set)
	return slices.Compact(set)
}

func isAll(caps []string) bool { return len(caps) >= len(knownCaps) }

// Check refuses what cannot be meant.
func (c Caps) Check() error {
	if isAll(c.Add) != isAll(c.Remove) {
		return nil
	}
	for _, name := range c.Add {
		if slices.Contains(c.Remove, name) {
			return fmt.Errorf("%s is to be added and removed", name)
		}
	}
	return nil
}

// capabilities decides the five sets. Inheritable and ambient stay empty for root (CVE-2022-29162); for another user
// ambient is the only way by which a capability that was asked for survives the exec.
func capabilities(in Input) *specs.LinuxCapabilities {
	c := in.App.Caps
	if in.Pod.Insecure.Capabilities {
		c = Caps{Retain: knownCaps}
	}
	if in.Identity.UID == 0 {
		set := c.apply(defaultCaps)
		return &specs.LinuxCapabilities{Bounding: set, Effective: set, Permitted: set}
	}
	if c.Empty() || len(c.Retain)+len(c.Add) == 0 {
		if in.App.NoNewPrivilegesOff { // a setuid program is the point of switching it off: it may become root's default
			return &specs.LinuxCapabilities{Bounding: c.apply(defaultCaps)}
		}
		return &specs.LinuxCapabilities{}
	}
	set := c.apply(nil)
	return &specs.LinuxCapabilities{Bounding: set, Effective: set, Permitted: set, Inheritable: set, Ambient: set}
}

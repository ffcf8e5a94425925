package launch

import (
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// newProcess converts p. Limits and groups of an OCI configuration belong to the process here, not to the container.
func newProcess(p *specs.Process) (*libcontainer.Process, error) {
	process := &libcontainer.Process{
		Args:            p.Args,
		Env:             p.Env,
		UID:             int(p.User.UID),
		GID:             int(p.User.GID),
		Cwd:             p.Cwd,
		Label:           p.SelinuxLabel,
		AppArmorProfile: p.ApparmorProfile,
		NoNewPrivileges: &p.NoNewPrivileges,
		Scheduler:       p.Scheduler,
		IOPriority:      p.IOPriority,
	}
	for _, gid := range p.User.AdditionalGids {
		process.AdditionalGroups = append(process.AdditionalGroups, int(gid))
	}
	var err error
	if p.Capabilities != nil {
		process.Capabilities, err = newCapabilities(p.Capabilities)
	} else {
		process.Capabilities, err = ownCapabilities(p.User.UID)
	}
	if err != nil {
		return nil, err
	}
	if size := p.ConsoleSize; size != nil {
		process.ConsoleWidth, process.ConsoleHeight = uint16(size.Width), uint16(size.Height)
	}
	if !slices.ContainsFunc(p.Env, func(v string) bool { return strings.HasPrefix(v, "HOME=/") }) {
		// Else libcontainer looks it up, by opening whatever the image has at /etc/passwd: a FIFO, say (CVE-2024-9676).
		process.Env = append(slices.Clone(p.Env), "HOME=/")
	}
	if err := checkGroups(len(p.User.AdditionalGids)); err != nil {
		return nil, err
	}
	process.Rlimits, err = newLimits(p.Rlimits)
	return process, err
}

// newLimits converts limits, and lowers those that this process may not give: root without CAP_SYS_RESOURCE, as in many
// a container, can hand on no more than it has, and an app with fewer files beats no app.
func newLimits(limits []specs.POSIXRlimit) ([]configs.Rlimit, error) {
	out := make([]configs.Rlimit, 0, len(limits))
	for _, l := range limits {
		number, ok := resources[l.Type]
		if !ok {
			return nil, fmt.Errorf("unknown limit %q", l.Type)
		}
		out = append(out, configs.Rlimit{Type: number, Soft: l.Soft, Hard: l.Hard})
	}
	if len(out) == 0 || mayRaise() {
		return out, nil
	}
	for i := range out {
		var own unix.Rlimit
		if err := unix.Getrlimit(out[i].Type, &own); err != nil {
			return nil, fmt.Errorf("read limit %q: %w", limits[i].Type, err)
		}
		out[i].Hard = min(out[i].Hard, own.Max)
		out[i].Soft = min(out[i].Soft, out[i].Hard)
	}
	return out, nil
}

// mayRaise reports whether this process has CAP_SYS_RESOURCE.
func mayRaise() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	err := unix.Capget(&header, &data[0])
	return err == nil && data[0].Effective&(1<<unix.CAP_SYS_RESOURCE) != 0
}

var resources = map[string]int{
	"RLIMIT_AS":         unix.RLIMIT_AS,
	"RLIMIT_CORE":       unix.RLIMIT_CORE,
	"RLIMIT_CPU":        unix.RLIMIT_CPU,
	"RLIMIT_DATA":       unix.RLIMIT_DATA,
	"RLIMIT_FSIZE":      unix.RLIMIT_FSIZE,
	"RLIMIT_LOCKS":      unix.RLIMIT_LOCKS,
	"RLIMIT_MEMLOCK":    unix.RLIMIT_MEMLOCK,
	"RLIMIT_MSGQUEUE":   unix.RLIMIT_MSGQUEUE,
	"RLIMIT_NICE":       unix.RLIMIT_NICE,
	"RLIMIT_NOFILE":     unix.RLIMIT_NOFILE,
	"RLIMIT_NPROC":      unix.RLIMIT_NPROC,
	"RLIMIT_RSS":        unix.RLIMIT_RSS,
	"RLIMIT_RTPRIO":     unix.RLIMIT_RTPRIO,
	"RLIMIT_RTTIME":     unix.RLIMIT_RTTIME,
	"RLIMIT_SIGPENDING": unix.RLIMIT_SIGPENDING,
	"RLIMIT_STACK":      unix.RLIMIT_STACK,
}

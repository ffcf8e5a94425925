package launch

import (
	"slices"
	"strings"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runtime-spec/specs-go"
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

package bundle

import (
	"fmt"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Result is what becomes of an Input.
type Result struct {
	// Spec has no root path, namespace paths, cgroup path or host name: stage1 fills them in. It has no seccomp either:
	// that is in Seccomp, because making it is slow and its result is cached by Seccomp.Key.
	Spec    *specs.Spec
	Seccomp *Filter // nil: unconfined
	// Volumes are the empty volumes that the image asks for and nobody gave.
	Volumes []Volume
}

// Build makes the configuration of one app. The same input gives the same result.
func Build(in Input) (*Result, error) {
	args, err := args(in)
	if err != nil {
		return nil, err
	}
	cwd, err := workingDir(in)
	if err != nil {
		return nil, err
	}
	mounts, volumes, err := mounts(in)
	if err != nil {
		return nil, err
	}
	sysctl, err := sysctls(in)
	if err != nil {
		return nil, err
	}
	if err := checkMapped(in); err != nil {
		return nil, err
	}
	masked, readonly := protectedPaths(in)
	caps := capabilities(in)
	filter, err := newFilter(in, caps.Bounding)
	if err != nil {
		return nil, fmt.Errorf("seccomp: %w", err)
	}
	spec := &specs.Spec{
		Version: specs.Version,
		Root:    &specs.Root{Readonly: in.App.ReadOnlyRootfs},
		Process: &specs.Process{
			User:            specs.User{UID: in.Identity.UID, GID: in.Identity.GID, AdditionalGids: in.Identity.Groups},
			Args:            args,
			Env:             environment(in),
			Cwd:             cwd,
			Capabilities:    caps,
			Rlimits:         rlimits(in),
			NoNewPrivileges: !in.App.NoNewPrivilegesOff,
			OOMScoreAdj:     in.App.Resources.OOMScoreAdj,
		},
		Mounts: mounts,
		Linux: &specs.Linux{
			Sysctl:        sysctl,
			Resources:     resources(in),
			Namespaces:    namespaces(in.Pod),
			Devices:       devices(in),
			MaskedPaths:   masked,
			ReadonlyPaths: readonly,
		},
	}
	if slices.ContainsFunc(mounts, func(m specs.Mount) bool { return slices.Contains(m.Options, "rshared") }) {
		spec.Linux.RootfsPropagation = "rshared" // else libcontainer would cut the volumes off
	}
	if in.Pod.Chroot {
		openUp(spec, in.App.NoNewPrivileges)
		filter = nil
	}
	return &Result{Spec: spec, Seccomp: filter, Volumes: volumes}, nil
}

// namespaces lists the kinds that the app gets: mount and cgroup are its own, the others its pod's. What is missing is
// the host's.
func namespaces(p Pod) []specs.LinuxNamespace {
	kinds := []specs.LinuxNamespaceType{specs.MountNamespace, specs.CgroupNamespace, specs.UTSNamespace}
	if !p.HostPID {
		kinds = append(kinds, specs.PIDNamespace)
	}
	if !p.HostNet {
		kinds = append(kinds, specs.NetworkNamespace)
	}
	if !p.HostIPC {
		kinds = append(kinds, specs.IPCNamespace)
	}
	if p.Users {
		kinds = append(kinds, specs.UserNamespace)
	}
	list := make([]specs.LinuxNamespace, len(kinds))
	for i, k := range kinds {
		list[i].Type = k
	}
	return list
}

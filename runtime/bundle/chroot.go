package bundle

import (
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// A chroot app has the host's processes, network, devices and kernel settings, and may do what root of the host may: it is a program of the
// node that comes as an image. Only its files are its own.

// hostMounts shows the host's own.
func hostMounts() []specs.Mount {
	var out []specs.Mount
	for _, dir := range []string{"/proc", "/dev", "/sys"} {
		out = append(out, specs.Mount{Destination: dir, Type: "bind", Source: dir, Options: []string{"rbind", "rslave"}})
	}
	return out
}

// openUp takes away from the specification of a chroot app what confines it, but what was asked for.
func openUp(spec *specs.Spec, noNewPrivileges bool) {
	none := int64(-1)
	spec.Process.Capabilities = nil // who starts it gives it its own
	spec.Process.NoNewPrivileges = noNewPrivileges
	spec.Linux.Namespaces = []specs.LinuxNamespace{{Type: specs.MountNamespace}}
	spec.Linux.Resources = &specs.LinuxResources{
		Devices: []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}},
		Pids:    &specs.LinuxPids{Limit: &none},
	}
	spec.Linux.Sysctl, spec.Linux.MaskedPaths, spec.Linux.ReadonlyPaths = nil, nil, nil
}

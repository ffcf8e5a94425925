package bundle

import (
	"fmt"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantryrun/gantry/pods"
)

// DefaultPIDs keeps a fork bomb inside its app. It is not in the configuration: who starts the app adds it, if the host can.
const DefaultPIDs = pods.DefaultPIDs

const cpuPeriod = 100_000 // microseconds

func resources(in Input) *specs.LinuxResources {
	r := in.App.Resources
	out := &specs.LinuxResources{
		Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}, // libcontainer adds null, zero, tty and such
	}
	for _, d := range in.App.Devices {
		major, minor := d.Major, d.Minor
		out.Devices = append(out.Devices, specs.LinuxDeviceCgroup{Allow: true, Type: d.Type, Major: &major, Minor: &minor, Access: d.Access})
	}
	if r.Memory > 0 {
		out.Memory = &specs.LinuxMemory{Limit: &r.Memory}
	}
	if r.CPU > 0 || r.CPUShares > 0 {
		out.CPU = &specs.LinuxCPU{}
	}
	if r.CPU > 0 {
		quota, period := r.CPU*cpuPeriod/1000, uint64(cpuPeriod)
		out.CPU.Quota, out.CPU.Period = &quota, &period
	}
	if r.CPUShares > 0 {
		out.CPU.Shares = &r.CPUShares
	}
	if r.PIDs != 0 {
		out.Pids = &specs.LinuxPids{Limit: &r.PIDs}
	}
	if r.IOWeight > 0 {
		out.BlockIO = &specs.LinuxBlockIO{Weight: &r.IOWeight}
	}
	return out
}

// Ulimit is a resource limit of a process.
type Ulimit struct {
	Name       string // as ulimit names it: "nofile"
	Soft, Hard uint64
}

var ulimitNames = []string{
	"as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss",
	"rtprio", "rttime", "sigpending", "stack",
}

// ParseUlimit parses NAME=SOFT[:HARD]; -1 and "unlimited" are no limit.
func ParseUlimit(s string) (Ulimit, error) {
	name, value, ok := strings.Cut(s, "=")
	name = strings.TrimPrefix(strings.ToLower(name), "rlimit_")
	if _, known := slices.BinarySearch(ulimitNames, name); !ok || !known {
		return Ulimit{}, fmt.Errorf("%q: want NAME=SOFT[:HARD], NAME one of %s", clip(s), strings.Join(ulimitNames, " "))
	}
	softText, hardText, both := strings.Cut(value, ":")
	if !both {
		hardText = softText
	}
	soft, err := parseLimit(softText)
	if err != nil {
		return Ulimit{}, err
	}
	hard, err := parseLimit(hardText)
	if err != nil {
		return Ulimit{}, err
	}
	if soft > hard {
		return Ulimit{}, fmt.Errorf("%q: the soft limit is above the hard one", clip(s))
	}
	return Ulimit{name, soft, hard}, nil
}

func parseLimit(s string) (uint64, error) {
	if s == "-1" || s == "unlimited" {
		return 1<<64 - 1, nil
	}
	n, err := parseRange(s, 0, 1<<62)
	return uint64(n), err
}

func rlimits(in Input) []specs.POSIXRlimit {
	var out []specs.POSIXRlimit
	for _, u := range in.App.Ulimits {
		out = append(out, specs.POSIXRlimit{Type: "RLIMIT_" + strings.ToUpper(u.Name), Soft: u.Soft, Hard: u.Hard})
	}
	return out
}

// Sysctl is one kernel parameter of the pod's namespaces.
type Sysctl struct{ Name, Value string }

// ipcSysctls belong to the IPC namespace (ipc_namespaces(7)); net.* belongs to the network namespace; fs.mqueue.* to IPC.
var ipcSysctls = []string{
	"kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shm_rmid_forced", "kernel.shmall",
	"kernel.shmmax", "kernel.shmmni",
}

// ParseSysctl parses NAME=VALUE; NAME must belong to a namespace of the pod, or the host would change with it.
func ParseSysctl(s string) (Sysctl, error) {
	name, value, ok := strings.Cut(s, "=")
	// The kernel's files take slashes for dots; a path would lead out of the allow-list.
	if !ok || value == "" || strings.ContainsAny(name, "/ \x00") || strings.Contains(name, "..") {
		return Sysctl{}, fmt.Errorf("%q: want NAME=VALUE, NAME with dots", clip(s))
	}
	if !isNetSysctl(name) && !isIPCSysctl(name) {
		return Sysctl{}, fmt.Errorf("%q is not a parameter of the pod's namespaces: net.*, fs.mqueue.* or %s", name, strings.Join(ipcSysctls, " "))
	}
	return Sysctl{name, value}, nil
}

func isNetSysctl(name string) bool { return strings.HasPrefix(name, "net.") }

func isIPCSysctl(name string) bool {
	_, ok := slices.BinarySearch(ipcSysctls, name)
	return ok || strings.HasPrefix(name, "fs.mqueue.")
}

// sysctls adds to what was asked for the two that make NET_RAW and NET_BIND_SERVICE unnecessary for ping and port 80.
func sysctls(in Input) (map[string]string, error) {
	out := map[string]string{}
	if !in.Pod.HostNet {
		out["net.ipv4.ping_group_range"] = "0 2147483647"
		if in.Pod.Users {
			out["net.ipv4.ping_group_range"] = fmt.Sprintf("0 %d", pods.PrivateUsers-1) // the groups that there are
		}
		out["net.ipv4.ip_unprivileged_port_start"] = "0"
	}
	for _, s := range in.App.Sysctls {
		switch {
		case isNetSysctl(s.Name) && in.Pod.HostNet:
			return nil, fmt.Errorf("sysctl %s: the pod has the host's network", s.Name)
		case isIPCSysctl(s.Name) && in.Pod.HostIPC:
			return nil, fmt.Errorf("sysctl %s: the pod has the host's IPC", s.Name)
		}
		out[s.Name] = s.Value
	}
	return out, nil
}

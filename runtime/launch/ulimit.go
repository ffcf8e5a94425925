package launch

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// newLimits converts limits, and refuses those that this process may not give: root without CAP_SYS_RESOURCE, as in many a container, can hand
// on no more than it has.
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
	for i, l := range out {
		var own unix.Rlimit
		if err := unix.Getrlimit(l.Type, &own); err != nil {
			return nil, fmt.Errorf("read limit %q: %w", limits[i].Type, err)
		}
		if l.Hard > own.Max {
			return nil, fmt.Errorf("--ulimit=%s: gantry itself is limited to %d, and has no right to raise that (CAP_SYS_RESOURCE)",
				strings.ToLower(strings.TrimPrefix(limits[i].Type, "RLIMIT_")), own.Max)
		}
	}
	return out, nil
}

// shareLimits gives a process that enters an app the limits of that, whose first process is pid, where nobody has asked for others: it would have
// those of our caller. A hard one that we may not raise is ours.
func shareLimits(process *libcontainer.Process, pid int) error {
	limits, err := limitsOf(pid)
	if err != nil {
		return fmt.Errorf("read limits of the app: %w", err)
	}
	raise := mayRaise()
	for _, l := range limits {
		if slices.ContainsFunc(process.Rlimits, func(asked configs.Rlimit) bool { return asked.Type == l.Type }) {
			continue
		}
		var own unix.Rlimit
		if err := unix.Getrlimit(l.Type, &own); err != nil {
			return fmt.Errorf("read limit %d: %w", l.Type, err)
		}
		if !raise {
			l.Hard = min(l.Hard, own.Max)
			l.Soft = min(l.Soft, l.Hard)
		}
		process.Rlimits = append(process.Rlimits, l)
	}
	return nil
}

// limitsOf reads the limits of a process. (For prlimit(2) one needs CAP_SYS_RESOURCE where that has another user.) The kernel lists them in the order
// of their numbers: a name of 25 columns, the soft and the hard one.
func limitsOf(pid int) ([]configs.Rlimit, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
	if err != nil {
		return nil, err
	}
	var out []configs.Rlimit
	for number, line := range strings.Split(strings.TrimSpace(string(data)), "\n")[1:] {
		l := configs.Rlimit{Type: number}
		if _, err := fmt.Sscan(strings.ReplaceAll(line[min(len(line), 26):], "unlimited", "18446744073709551615"), &l.Soft, &l.Hard); err != nil {
			return nil, fmt.Errorf("line %q: %w", line, err)
		}
		out = append(out, l)
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

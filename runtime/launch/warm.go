package launch

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/fs2"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantryrun/gantry/pods"
)

// warmUp has computed what is the same for every request, while the supervisor still makes namespaces and mounts:
// what encoding/json has to know of OCI's and libcontainer's large types (1.5 ms of a start otherwise), and the
// kind of cgroups that this host has.
func warmUp() {
	out := json.NewEncoder(io.Discard)
	for _, v := range []any{&pods.Launch{}, &pods.Launched{}, &specs.Spec{}, &libcontainer.State{}, &furniture{Mounts: make([]piece, 1), Dirs: make([]dir, 1)}} {
		_ = out.Encode(v) // the output does not matter
	}
	seccomp.Version()
	_, _ = cgroups.GetCgroupMounts(false) // where the hierarchies of v1 lie is read once
	_, _ = os.FindProcess(os.Getpid())    // has package os find out about pidfds, for which it forks a process
}

// wakeInterval is less than a grace period; for wakeTimes intervals an app may let us wait before it pays itself.
const (
	wakeInterval = 3 * time.Millisecond
	wakeTimes    = 100
)

// wakeCgroups moves this process to the cgroup where it is, again and again until joined says that nobody has to move any more. That changes
// nothing, but the first move after a while has to wait for an RCU grace period, some 10 ms, before the kernel may stop forks for a
// moment (cgroup_threadgroup_rwsem); those that follow soon after do not. So this is done aside, and early: libcontainer's
// moves are then the following ones. It is as well to have it fail: a start is slower without, not worse. On cgroup v1 nobody is moved, see place.
func wakeCgroups(joined func() bool) {
	dir, err := ownCgroup()
	if err != nil {
		return
	}
	f, err := os.OpenFile(filepath.Join(dir, "cgroup.procs"), os.O_WRONLY, 0)
	if err != nil {
		return
	}
	defer f.Close()
	ticker := time.NewTicker(wakeInterval)
	defer ticker.Stop()
	for range wakeTimes {
		if _, err := f.WriteString("0"); err != nil {
			return
		}
		if <-ticker.C; joined() {
			return
		}
	}
}

func ownCgroup() (string, error) {
	own, err := cgroups.ParseCgroupFile("/proc/self/cgroup")
	return filepath.Join(fs2.UnifiedMountpoint, own[""]), err
}

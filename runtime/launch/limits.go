package launch

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/fs2"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantryrun/gantry/pods"
)

// completeLimits adds to the app's limits what depends on the cgroups that this host has, and refuses those that were asked for and that
// nobody would enforce.
func (s *start) completeLimits(spec *specs.Spec) error {
	r := spec.Linux.Resources
	if r == nil {
		return nil
	}
	unified := cgroups.IsCgroup2UnifiedMode()
	if r.Pids == nil && hasController("pids", unified) {
		limit := int64(pods.DefaultPIDs)
		r.Pids = &specs.LinuxPids{Limit: &limit}
	} else if r.Pids == nil {
		s.result.Warning = fmt.Sprintf("app %s has no limit of processes: this host has no cgroup controller pids", s.app.Name)
	}
	for _, l := range []struct {
		asked      bool
		flag, name string
	}{
		{r.Memory != nil, "--memory", "memory"},
		{r.CPU != nil, "--cpu and --cpu-shares", "cpu"},
		{r.Pids != nil && r.Pids.Limit != nil && *r.Pids.Limit > 0, "--pids", "pids"},
	} {
		if l.asked && !hasController(l.name, unified) {
			return fmt.Errorf("%s cannot be enforced: this host has no cgroup controller %s", l.flag, l.name)
		}
	}
	if unified {
		limitAll(r)
		return nil
	}
	if slices.ContainsFunc(spec.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.CgroupNamespace }) {
		// libcontainer mounts the controllers read-only, but not the directory that they are in.
		spec.Linux.ReadonlyPaths = append(spec.Linux.ReadonlyPaths, "/sys/fs/cgroup")
	}
	if err := limitSwap(r); err != nil {
		return err
	}
	return s.checkWeight(r)
}

// limitAll has the kernel end all of an app that is over its limit of memory, instead of the one process that it likes least; and the limit
// is one of memory and swap together, or an app over it would push the host into swapping and never end.
func limitAll(r *specs.LinuxResources) {
	if r.Memory != nil && r.Memory.Limit != nil {
		r.Memory.Swap = r.Memory.Limit
		r.Unified = map[string]string{"memory.oom.group": "1"}
	}
}

// limitSwap is the swap's part of limitAll on v1, where the kernel counts swap at all: many do only when booted with swapaccount=1.
func limitSwap(r *specs.LinuxResources) error {
	if r.Memory == nil || r.Memory.Limit == nil {
		return nil
	}
	dir, err := cgroups.GetOwnCgroupPath("memory")
	if err != nil {
		return err
	}
	_, err = os.Stat(filepath.Join(dir, "memory.memsw.limit_in_bytes"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	r.Memory.Swap = r.Memory.Limit
	return err
}

// checkWeight makes the app's cgroup, as libcontainer would a moment later, to see whether the host's I/O schedulers have weights:
// libcontainer takes it for set where they have not. (On v2 it does not.)
func (s *start) checkWeight(r *specs.LinuxResources) error {
	if r.BlockIO == nil || r.BlockIO.Weight == nil {
		return nil
	}
	own, err := cgroups.GetOwnCgroupPath("blkio")
	if err != nil {
		return fmt.Errorf("--io-weight cannot be enforced: this host has no cgroup controller blkio: %w", err)
	}
	dir := filepath.Join(own, s.app.Cgroup)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, file := range []string{"blkio.weight", "blkio.bfq.weight"} {
		if _, err := os.Stat(filepath.Join(dir, file)); err == nil {
			return nil
		}
	}
	return errors.New("--io-weight cannot be enforced: no I/O scheduler of this host has weights (bfq has)")
}

// hasController reports whether the kernel offers a controller.
func hasController(name string, unified bool) bool {
	if !unified {
		_, err := cgroups.GetOwnCgroupPath(name)
		return err == nil
	}
	data, err := os.ReadFile(filepath.Join(fs2.UnifiedMountpoint, "cgroup.controllers"))
	return err == nil && slices.Contains(strings.Fields(string(data)), name)
}

package launch_test

import (
	"os"
	"strings"
	"testing"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// An app, and a command that enters it, are in the app's cgroup of every hierarchy of v1 (the pod's, of cpusets), and no thread of gantry-launch stays there.
func TestBorn(t *testing.T) {
	if cgroups.IsCgroup2UnifiedMode() {
		t.Skip("skipped: nobody is born in a cgroup of v2")
	}
	p := newPod(t)
	limit := int64(77)
	app := p.startEntered(func(s *specs.Spec) {
		s.Linux.Resources = &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: &limit}}
	}, nil, "cat /proc/self/cgroup /sys/fs/cgroup/pids/pids.max")
	if !strings.HasSuffix(app, "\n77\n") {
		t.Errorf("the app has no limit: %s", app)
	}
	entered, err := p.enter("--", "cat", "/proc/self/cgroup").CombinedOutput()
	p.must(err)
	for line := range strings.Lines(strings.TrimSuffix(app, "77\n") + string(entered)) {
		// As the app's cgroup namespace shows it. cgroup2 is stage1's to hide.
		if !strings.HasPrefix(line, "0::") && !strings.HasSuffix(line, ":/\n") {
			t.Errorf("not in the app's cgroup: %s", line)
		}
	}
	for _, dir := range cgroupDirs(t, p.cgroup+"/web") {
		if strings.Contains(dir, "/unified/") {
			continue
		}
		if strings.Contains(dir, "/cpuset/") {
			if _, err := os.Stat(dir); err == nil {
				t.Errorf("the app has a cpuset of its own: %s", dir)
			}
			dir = strings.TrimSuffix(dir, "/web")
			balance, err := os.ReadFile(dir + "/cpuset.sched_load_balance")
			p.must(err)
			if above, err := os.ReadFile(dir + "/../cpuset.sched_load_balance"); err != nil || string(above) == string(balance) {
				t.Errorf("scheduling domains: above %q (%v), for the pod %q", above, err, balance)
			}
		}
		procs, err := os.ReadFile(dir + "/cgroup.procs")
		p.must(err)
		tasks, err := os.ReadFile(dir + "/tasks")
		p.must(err)
		if len(procs) == 0 || string(procs) != string(tasks) { // a busybox has one thread
			t.Errorf("%s: processes %q, threads %q", dir, procs, tasks)
		}
	}
}

// What place builds upon: the paths that a container hands out are the ones that it goes by.
func TestManagerPaths(t *testing.T) {
	if os.Geteuid() != 0 || cgroups.IsCgroup2UnifiedMode() {
		t.Skip("skipped: needs root, and hierarchies of cgroup v1")
	}
	c, err := libcontainer.Create(t.TempDir(), "paths", &configs.Config{
		Rootfs: t.TempDir(), Namespaces: configs.Namespaces{{Type: configs.NEWNS}},
		Cgroups: &cgroups.Cgroup{Path: "gantry-test-paths", Resources: &cgroups.Resources{}},
	})
	if err != nil {
		t.Fatal(err)
	}
	state, err := c.State()
	if err != nil || state.CgroupPaths["devices"] == "" {
		t.Fatal(state, err)
	}
	clear(state.CgroupPaths)
	if state, err = c.State(); err != nil || len(state.CgroupPaths) > 0 {
		t.Errorf("%v still joins %v", err, state.CgroupPaths)
	}
}

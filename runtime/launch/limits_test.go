package launch_test

import (
	"os"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// On a host of cgroup v1 that lacks two controllers: what was asked for is refused, the default is left out.
func TestMissingControllers(t *testing.T) {
	for _, c := range []string{"pids", "memory"} {
		if _, err := os.Stat("/sys/fs/cgroup/" + c + "/cgroup.procs"); err != nil {
			t.Skipf("skipped: this host has no hierarchy of cgroup v1 to take away: %v", err)
		}
	}
	p := newPod(t)
	p.before = "umount /sys/fs/cgroup/pids /sys/fs/cgroup/memory"
	a := p.start(nil, p.app("app", nil, "true"))[0]
	if code := p.wait(a.PID); code != 0 || a.Warning != "app app has no limit of processes: this host has no cgroup controller pids" {
		t.Errorf("exit code %d, answer %+v", code, a)
	}
	size, pids := int64(64<<20), int64(9)
	for _, tc := range []struct {
		name string
		edit func(*specs.LinuxResources)
		want string
	}{
		{"nothing asked", func(*specs.LinuxResources) {}, ""},
		{"memory", func(r *specs.LinuxResources) { r.Memory = &specs.LinuxMemory{Limit: &size} }, "--memory cannot be enforced"},
		{"processes", func(r *specs.LinuxResources) { r.Pids = &specs.LinuxPids{Limit: &pids} }, "--pids cannot be enforced"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			code, out := p.run(func(s *specs.Spec) {
				if s.Linux.Resources == nil {
					s.Linux.Resources = &specs.LinuxResources{}
				}
				tc.edit(s.Linux.Resources)
			}, "true")
			if (code == 0) != (tc.want == "") || !strings.Contains(out, tc.want) {
				t.Errorf("got exit code %d and %q, want %q", code, out, tc.want)
			}
		})
	}
}

package stage1

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A unit that is started again has the same cgroup: what sweeps its dead pod must not kill the new one's supervisor.
func TestSplitCgroups(t *testing.T) {
	const uuid = "45700dd7-7148-4b26-a60b-4769c5a6d492"
	const unit = "/sys/fs/cgroup/system.slice/web.service"
	tests := map[string]struct{ dirs, own, units []string }{
		"v1":             {dirs: []string{"/sys/fs/cgroup/cpu/gantry-" + uuid}, own: []string{"/sys/fs/cgroup/cpu/gantry-" + uuid}},
		"v2":             {dirs: []string{"/sys/fs/cgroup/gantry/gantry-" + uuid}, own: []string{"/sys/fs/cgroup/gantry/gantry-" + uuid}},
		"delegated unit": {dirs: []string{unit + "/gantry-" + uuid, unit + "/supervisor"}, own: []string{unit + "/gantry-" + uuid}, units: []string{unit + "/supervisor"}},
		"another pod's":  {dirs: []string{unit + "/gantry-x"}, units: []string{unit + "/gantry-x"}},
		"none":           {},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			own, units := splitCgroups(test.dirs, uuid)
			if diff := cmp.Diff([][]string{test.own, test.units}, [][]string{own, units}); diff != "" {
				t.Error(diff)
			}
		})
	}
}

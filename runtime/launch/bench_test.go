package launch_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// BenchmarkStart runs "true" to its end, with the filter that stage0 uses: by gantry-launch in a pod that is there, and by
// runc, which makes its namespaces itself. What stage1 does is not in it.
func BenchmarkStart(b *testing.B) {
	b.Run("launch", func(b *testing.B) {
		p := newPod(b)
		profile := p.profile(nil)
		for i := 0; b.Loop(); i++ {
			app := p.app(fmt.Sprintf("app%d", i), nil, "true") // one that was there would be removed first
			app.Seccomp = profile
			if a := p.start(nil, app)[0]; a.Error != "" || p.wait(a.PID) != 0 {
				b.Fatal(a.Error)
			}
		}
	})
	b.Run("enter", func(b *testing.B) {
		p := newPod(b)
		p.startEntered(nil, p.profile(nil), "true")
		for b.Loop() {
			p.must(p.enter("--", "true").Run())
		}
	})
	b.Run("runc", func(b *testing.B) {
		if _, err := exec.LookPath("runc"); err != nil {
			b.Skipf("skipped: %v", err)
		}
		p := newPod(b)
		data, err := os.ReadFile(p.profile(nil).Profile)
		p.must(err)
		spec := defaultSpec([]string{"true"})
		spec.Version = "1.0.2" // Debian has runc 1.1
		spec.Root = &specs.Root{Path: p.rootfs()}
		spec.Linux.CgroupsPath = p.cgroup + "/runc"
		spec.Linux.Seccomp = &specs.LinuxSeccomp{}
		p.must(json.Unmarshal(data, spec.Linux.Seccomp))
		data, err = json.Marshal(spec)
		p.must(err)
		p.must(os.WriteFile(filepath.Join(p.dir, "config.json"), data, 0o600))
		for b.Loop() {
			if out, err := exec.Command("runc", "--root", p.dir+"/runc", "run", "--bundle", p.dir, "gantry-bench").CombinedOutput(); err != nil {
				b.Fatalf("%v: %s", err, out)
			}
		}
	})
}

package launch_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantryrun/gantry/tests/await"
)

// TestReaper: PID 1 of a pod is worth nothing to who gets hold of it, and costs next to nothing.
func TestReaper(t *testing.T) {
	p := newPod(t)
	pid := p.reaper.Process.Pid
	read := func(name string) string {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
		p.must(err)
		return string(data)
	}
	status := read("status")
	for _, want := range []string{"CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "NSpid:\t"} {
		if !strings.Contains(status, want) {
			t.Errorf("no %q in its status", want)
		}
	}
	if env := read("environ"); env != "" {
		t.Errorf("it has an environment: %q", env)
	}
	await.Success(t, "it to have two descriptors", func() error { // it may still be about to close ready
		fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		if err == nil && len(fds) != 2 {
			err = fmt.Errorf("it has %d", len(fds))
		}
		return err
	})
	var pss int
	for line := range strings.Lines(read("smaps_rollup")) {
		_, _ = fmt.Sscanf(line, "Pss: %d kB", &pss)
	}
	if pss > 60 {
		t.Errorf("it takes %d kB", pss)
	}
	// An orphan in the pod is the reaper's, and collected; the reaper's own program is out of reach.
	code, out := p.run(nil, "sh", "-c", "(sh -c 'sleep 0.05; grep PPid /proc/self/status; touch /tmp/seen; kill -9 $$' &); until [ -e /tmp/seen ]; do sleep 0.05; done; "+
		"ls /proc/1/exe 2>&1 | grep -c .; ls -l /proc/1/exe 2>&1; kill -9 1; echo alive")
	if code != 0 || !strings.Contains(out, "PPid:\t") || !strings.Contains(out, "ermission denied") || !strings.HasSuffix(out, "alive\n") {
		t.Errorf("got exit code %d and %q", code, out)
	}
	await.Success(t, "the reaper to keep nobody", func() error {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
		if err == nil && len(data) > 0 {
			err = fmt.Errorf("it keeps %q", data)
		}
		return err
	})
}

// TestProgramsAreOutOfReach: an app that may look at every process of its pod, and has every chance to, cannot change one
// of gantry's programs (CVE-2019-5736).
func TestProgramsAreOutOfReach(t *testing.T) {
	p := newPod(t)
	programs := func() (sums []string) {
		for _, name := range []string{"gantry-init", "gantry-launch"} {
			data, err := os.ReadFile(filepath.Join(p.bin, name))
			p.must(err)
			sums = append(sums, fmt.Sprintf("%x", sha256.Sum256(data)))
		}
		return sums
	}
	before := programs()
	attacker := p.app("attacker", func(s *specs.Spec) {
		for _, set := range []*[]string{&s.Process.Capabilities.Bounding, &s.Process.Capabilities.Permitted, &s.Process.Capabilities.Effective} {
			*set = append(*set, "CAP_SYS_PTRACE")
		}
	}, "sh", "-c", "echo $$ >/self; while :; do for p in /proc/[0-9]*; do [ $p = /proc/$$ ] || echo x 2>/dev/null >$p/exe; done; done")
	if a := p.start(nil, attacker)[0]; a.Error != "" {
		t.Fatal(a.Error)
	}
	for i := range 10 {
		if a := p.start(nil, p.app(fmt.Sprintf("app%d", i), nil, "true"))[0]; a.Error != "" {
			t.Fatal(a.Error)
		}
	}
	if diff := cmp.Diff(before, programs()); diff != "" {
		t.Error(diff)
	}
}

// TestReaperRefuses: a reaper that cannot watch its supervisor does not run.
func TestReaperRefuses(t *testing.T) {
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"reap"}, {"reap", "--supervisor-fd=99"}, {"reap", "--nonsense"}, {"nonsense"}, {}} {
		if out, err := exec.Command(bin+"/gantry-init", args...).CombinedOutput(); err == nil || len(out) == 0 {
			t.Errorf("%q: %v, %q", args, err, out)
		}
	}
}

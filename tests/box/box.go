// Package box runs a test as the only tenant of a small host of its own: new mount, PID, network, IPC, UTS
// and cgroup namespaces, an empty tmpfs on /run, a private cgroup in every hierarchy, loopback up and nothing
// else on the network.
//
// It knows how such a host is made and unmade. It never changes the machine outside: the one thing that it
// makes there is a cgroup per hierarchy, gantry-test-*, which it removes when the box is gone.
// Invariant: when the first process of a box ends, the kernel kills every other one, whatever the test did.
//
// The way of a boxed test:
//
//	go test ── Enter ──> self as PID 1 of the box: mounts, then reaps ──> self again, inside: the test's body
package box

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

// stageEnv tells a re-executed test binary which stage of the box it is.
const stageEnv = "GANTRY_TEST_BOX"

// Main is what TestMain calls in a package whose tests use boxes: m.Run, except in the process that is to be a
// box's first one. It returns the code to exit with.
func Main(m *testing.M) int {
	if name, ok := strings.CutPrefix(os.Getenv(stageEnv), "init:"); ok {
		code, err := initBox(name)
		if err != nil {
			fmt.Fprintf(os.Stderr, "box: %v\n", err)
			return 1
		}
		return code
	}
	return m.Run()
}

// Inside says whether this process is in a box already.
func Inside() bool { return os.Getenv(stageEnv) == "inside" }

var serial atomic.Int64 // distinguishes the boxes of one test process

// Enter runs the test t, which must be calling it, in a box. It returns true inside, where the body is to run;
// outside it returns false when the run inside is over, its result already reported to t.
//
//	if !box.Enter(t) { return }
func Enter(t *testing.T, env ...string) bool {
	t.Helper()
	if Inside() {
		return true
	}
	if os.Getuid() != 0 {
		t.Skip("skipped: needs root to make namespaces and cgroups")
	}
	name := fmt.Sprintf("gantry-test-%d-%d", os.Getpid(), serial.Add(1))
	if err := makeCgroups(name); err != nil {
		t.Fatalf("make cgroups of the box: %v", err)
	}
	t.Cleanup(func() {
		if err := removeCgroups(name); err != nil {
			t.Errorf("remove cgroups of the box: %v", err)
		}
	})
	out, err := command(t.Context(), t.Name(), append(env, stageEnv+"=init:"+name)).CombinedOutput()
	switch {
	case err != nil:
		t.Errorf("in the box: %v\n%s", err, out)
	case strings.Contains(string(out), "--- SKIP: "+t.Name()+" "):
		t.Skipf("skipped in the box:\n%s", out)
	default:
		t.Logf("%s", out)
	}
	return false
}

// command is this test binary, asked to run one test, as the first process of new namespaces. The cgroup
// namespace comes later: it must be made by a process that is in its cgroups already.
func command(ctx context.Context, test string, env []string) *exec.Cmd {
	parts := strings.Split(test, "/")
	for i, p := range parts {
		parts[i] = "^" + regexp.QuoteMeta(p) + "$"
	}
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "-test.run="+strings.Join(parts, "/"), "-test.v", "-test.timeout=15m")
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS,
		Pdeathsig:  syscall.SIGKILL,
	}
	return cmd
}

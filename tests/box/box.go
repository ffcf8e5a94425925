// Package box runs a test as the only tenant of a small host of its own: new mount, PID, network, IPC, UTS
// and cgroup namespaces, an empty tmpfs on /run, a private cgroup in every hierarchy, loopback up and nothing
// else on the network.
//
// It knows how such a host is made and unmade. It never changes the machine outside: the one thing that it
// makes there is a cgroup per hierarchy, gantry-box-*, which it removes when the box is gone.
// Invariant: when the first process of a box ends, the kernel kills every other one, whatever the test did.
//
// The way of a boxed test:
//
//	go test ── Enter ──> self as PID 1 of the box: mounts, then reaps ──> self again, inside: the test's body
package box

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

// stageEnv tells a re-executed test binary which stage of the box it is.
const stageEnv = "GANTRY_TEST_BOX"

// Init is to be called first by every program that makes boxes, before it looks at its arguments. In the process
// that is to be a box's first one it does that job, and returns true and the code to exit with; everywhere else
// it returns false at once.
func Init() (code int, isInit bool) {
	name, ok := strings.CutPrefix(os.Getenv(stageEnv), "init:")
	if !ok {
		return 0, false
	}
	code, err := initBox(name)
	if err != nil {
		fmt.Fprintf(os.Stderr, "box: %v\n", err)
		return 1, true
	}
	return code, true
}

// Main is what TestMain calls in a package whose tests use boxes: m.Run, after Init. It returns the code to exit
// with.
func Main(m *testing.M) int {
	if code, isInit := Init(); isInit {
		return code
	}
	return m.Run()
}

// Inside says whether this process is in a box already.
func Inside() bool { return os.Getenv(stageEnv) == "inside" }

// Run runs this program again, in a new box, with other arguments and more environment. When it returns, the box
// is gone with all that was in it.
func Run(ctx context.Context, out io.Writer, args, env []string) error {
	name, err := boxName(serial.Add(1))
	if err != nil {
		return err
	}
	if err := makeCgroups(name); err != nil {
		return errors.Join(fmt.Errorf("make cgroups of the box: %w", err), removeCgroups(name))
	}
	runtime.LockOSThread() // Pdeathsig is about the thread, which must not end before the box
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", args...)
	cmd.Env = append(append(os.Environ(), env...), stageEnv+"=init:"+name)
	cmd.Stdout, cmd.Stderr = out, out
	// The cgroup namespace comes later: it must be made by a process that is in its cgroups already.
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS,
		Pdeathsig:  syscall.SIGKILL,
	}
	return errors.Join(cmd.Run(), removeCgroups(name))
}

var serial atomic.Int64 // distinguishes the boxes of one process

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
	parts := strings.Split(t.Name(), "/")
	for i, p := range parts {
		parts[i] = "^" + regexp.QuoteMeta(p) + "$"
	}
	var out bytes.Buffer
	err := Run(t.Context(), &out, []string{"-test.run=" + strings.Join(parts, "/"), "-test.v", "-test.timeout=15m"}, env)
	switch {
	case err != nil:
		t.Errorf("in the box: %v\n%s", err, out.String())
	case strings.Contains(out.String(), "--- SKIP: "+t.Name()+" "):
		t.Skipf("skipped in the box:\n%s", out.String())
	default:
		t.Logf("%s", out.String())
	}
	return false
}

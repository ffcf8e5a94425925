package launch_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gantryrun/gantry/tests/await"
)

// On a hybrid host libcontainer does not know the cgroup2 that the app is in: stage1 hides it. A command that enters is there too.
func TestEnterJoinsHybridCgroup(t *testing.T) {
	const mount = "/sys/fs/cgroup/unified"
	if _, err := os.Stat(mount + "/cgroup.procs"); err != nil {
		t.Skipf("skipped: not a hybrid host: %v", err)
	}
	p := newPod(t)
	dir := ""
	for _, d := range cgroupDirs(t, p.cgroup) {
		if strings.HasPrefix(d, mount+"/") {
			dir = d
		}
	}
	p.must(os.Mkdir(dir, 0o755))
	p.before = fmt.Sprintf("echo $$ >%s/cgroup.procs; umount %s", dir, mount)
	// "/" is the app's own place, as its cgroup namespace shows it.
	p.startEntered(nil, nil, "true")
	before, err := os.ReadFile("/proc/self/cgroup")
	p.must(err)
	for _, tty := range []string{"--tty=false", "--tty"} {
		out, err := p.enter(tty, "--", "grep", "^0::", "/proc/self/cgroup").CombinedOutput()
		if err != nil || strings.TrimSpace(string(out)) != "0::/" {
			t.Errorf("%s: entered at %q, %v", tty, out, err)
		}
	}
	if after, _ := os.ReadFile("/proc/self/cgroup"); string(after) != string(before) {
		t.Errorf("the caller was moved: %s", after)
	}
	// Who waits for the command is out of the pod's cgroup: the pod's end must not kill it, and leave a terminal raw.
	cmd := exec.Command(p.bin+"/gantry-launch", "enter", "--run-dir="+p.dir, "--pod-dir="+p.dir, "--app=web", "--", "sh", "-c", "echo up; cat")
	stdin, err := cmd.StdinPipe()
	p.must(err)
	stdout, err := cmd.StdoutPipe()
	p.must(err)
	p.must(cmd.Start())
	if _, err := stdout.Read(make([]byte, 3)); err != nil {
		t.Error(err)
	}
	await.Until(t, "gantry-launch to leave the pod's cgroup", func() bool { // the command may be faster than it
		procs, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		p.must(err)
		return !strings.Contains("\n"+string(procs), fmt.Sprintf("\n%d\n", cmd.Process.Pid))
	})
	p.must(stdin.Close())
	p.must(cmd.Wait())
}

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/tests/await"
	"github.com/gantryrun/gantry/tests/box"
	"github.com/gantryrun/gantry/tests/build"
)

// victim is a pod in a state in which somebody is killed.
type victim struct {
	name   string
	run    []string   // flags of the pod
	script string     // of the app; empty: it is an appc image with hooks
	args   []string   // more flags of the app, or of a pod with hooks
	then   [][]string // what is done when it is ready: POD and IMAGE stand for themselves, & is for what goes on
	count  int        // how many of its processes sleep then
}

const forks = "(setsid sleep 1000 &) ; sleep 1000 & sleep 1000"

var victims = []victim{
	{name: "default", script: forks, count: 3},
	{name: "private users", run: []string{"--private-users"}, script: forks, count: 3},
	{name: "host's PID namespace", run: []string{"--pid=host"}, script: forks, count: 3},
	{name: "chroot", run: []string{"--stage1-name=chroot"}, script: forks, count: 3},
	{name: "PID namespaces of apps", run: []string{"--pid=app"}, script: forks, count: 3},
	{name: "PID namespaces of apps in private users", run: []string{"--pid=app", "--private-users"}, script: forks, count: 3},
	{name: "app was added to PID namespaces of apps", run: []string{"--pid=app"}, script: "sleep 1000", then: added, count: 3},
	{name: "entered in the app's PID namespace", run: []string{"--pid=app"}, script: "sleep 1000", then: entered, count: 3},
	{name: "probe runs in the app's PID namespace", run: []string{"--pid=app"}, script: "sleep 1000", args: []string{"--ready=exec:sleep 1000"}, count: 2},
	{name: "pre-start hook runs in the app's PID namespace", run: []string{"--pid=app"}, args: []string{"--set-env=HOOK=before"}, count: 2},
	{name: "post-stop hook runs in the app's PID namespace", run: []string{"--pid=app"}, args: []string{"--set-env=HOOK=after"}, count: 2},
	{name: "app was added", script: "sleep 1000", then: added, count: 3},
	{name: "app was added to private users", run: []string{"--private-users"}, script: "sleep 1000", then: added, count: 3},
	{name: "app was added in the host's PID namespace", run: []string{"--pid=host"}, script: "sleep 1000", then: added, count: 3},
	{name: "entered", script: "sleep 1000", then: entered, count: 3},
	{name: "entered in private users", run: []string{"--private-users"}, script: "sleep 1000", then: entered, count: 3},
	{name: "entered in the host's PID namespace", run: []string{"--pid=host"}, script: "sleep 1000", then: entered, count: 3},
	{name: "entered chroot", run: []string{"--stage1-name=chroot"}, script: "sleep 1000", then: entered, count: 3},
	{name: "probe runs", script: "sleep 1000", args: []string{"--ready=exec:sleep 1000"}, count: 2},
	{name: "probe runs in the host's PID namespace", run: []string{"--pid=host"}, script: "sleep 1000", args: []string{"--ready=exec:sleep 1000"}, count: 2},
	{name: "pre-start hook runs", args: []string{"--set-env=HOOK=before"}, count: 2},
	{name: "pre-start hook runs in chroot", run: []string{"--stage1-name=chroot"}, args: []string{"--set-env=HOOK=before"}, count: 2},
	{name: "post-stop hook runs", args: []string{"--set-env=HOOK=after"}, count: 2},
	{name: "post-stop hook runs in the host's PID namespace", run: []string{"--pid=host"}, args: []string{"--set-env=HOOK=after"}, count: 2},
}

var (
	added = [][]string{
		{"app", "add", "POD", "IMAGE", "--name=more", "--", "sh", "-c", "sleep 1000 & sleep 1000"}, {"app", "start", "--app=more", "POD"},
	}
	entered = [][]string{{"enter", "&", "POD", "sleep", "1000"}, {"enter", "&", "--tty", "POD", "sleep", "1000"}}
)

// SIGKILL of the supervisor ends the pod, and so does that of its reaper, or of those of its apps: whatever runs in it, in every flavour. Nobody reads that it has
// exited while one of its processes lives in the host's PID namespace, where the kernel ends none by itself.
func TestKillTable(t *testing.T) {
	for _, v := range victims {
		for _, who := range []string{"supervisor", "reaper", "app reapers"} {
			if who == "app reapers" && !slices.Contains(v.run, "--pid=app") {
				continue // it has none
			}
			t.Run(v.name+"/"+who, func(t *testing.T) {
				t.Parallel()
				if box.Enter(t, build.Env(build.Dir(t))) {
					v.kill(t, who)
				}
			})
		}
	}
}

func (v victim) kill(t *testing.T, who string) {
	h := newHost(t)
	image := busyboxArchive(t)
	uuidFile := filepath.Join(t.TempDir(), "uuid")
	args := append([]string{"run", "--uuid-file-save=" + uuidFile}, v.run...)
	if strings.Join(v.run, "") != "--stage1-name=chroot" {
		args = append(args, "--net=none")
	}
	if v.script == "" {
		args = append(append(args, v.args...), sleepingACI(t))
	} else {
		args = append(append(append(args, image), v.args...), "--", "sh", "-c", v.script)
	}
	supervisor := h.command(t, args...)
	if err := supervisor.Start(); err != nil {
		t.Fatal(err)
	}
	v.prepare(t, h, image, uuidFile)
	await.Until(t, fmt.Sprintf("%d processes", v.count), func() bool { return len(sleepers(t)) == v.count })
	data, err := os.ReadFile(uuidFile)
	if err != nil {
		t.Fatal(err)
	}
	uuid := strings.TrimSpace(string(data))

	doomed := []int{supervisor.Process.Pid}
	if who != "supervisor" {
		doomed = v.reapers(t, doomed[0], who)
	}
	for _, pid := range doomed {
		if err := unix.Kill(pid, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	_ = supervisor.Wait()
	await.Until(t, "the pod's end", func() bool { return h.state(t, uuid) == "exited" })
	left := sleepers(t)
	if own := strings.Join(v.run, " "); len(left) > 0 && (who != "supervisor" || own == "--pid=host" || own == "--stage1-name=chroot") {
		t.Errorf("the pod has exited, and these live: %v", left)
	}
	await.Until(t, "the end of its processes", func() bool { return len(sleepers(t)) == 0 && len(survivors(t, h)) == 0 })
	h.check(t)
}

// reapers are that of the pod, or those of its apps, which have no host name to set.
func (v victim) reapers(t *testing.T, supervisor int, who string) []int {
	t.Helper()
	pattern := "gantry-init reap .*"
	switch {
	case who == "app reapers":
		pattern = "gantry-init reap .*--ready-fd=4( --users-fd=5 --born-fd=6)?"
	case slices.Contains(v.run, "--pid=app"):
		pattern = "gantry-init reap .*--hostname=.*"
	}
	out, err := exec.Command("pgrep", "-xf", "-P", strconv.Itoa(supervisor), pattern).Output()
	if err != nil {
		t.Fatalf("no reaper: %v", err)
	}
	var pids []int
	for pid := range strings.FieldsSeq(string(out)) {
		pids = append(pids, atoi(t, pid))
	}
	return pids
}

// prepare does what comes after the start of the pod.
func (v victim) prepare(t *testing.T, h *host, image, uuidFile string) {
	t.Helper()
	if len(v.then) == 0 {
		return
	}
	await.Until(t, "the pod", func() bool {
		info, err := os.Stat(uuidFile)
		return err == nil && info.Size() > 0
	})
	data, err := os.ReadFile(uuidFile)
	if err != nil {
		t.Fatal(err)
	}
	uuid := strings.TrimSpace(string(data))
	await.Until(t, "the pod's readiness", func() bool {
		_, status, _ := h.run(t, "status", uuid) // its UUID is told before it is there
		return strings.Contains(status, "ready=true")
	})
	for _, args := range v.then {
		var real []string
		background := false
		for _, a := range args {
			switch a {
			case "POD":
				a = uuid
			case "IMAGE":
				a = image
			case "&":
				background = true
				continue
			}
			real = append(real, a)
		}
		if !background {
			h.must(t, real...)
			continue
		}
		client := h.command(t, real...)
		if err := client.Start(); err != nil {
			t.Fatal(err)
		}
		go func() { _ = client.Wait() }()
	}
}

// sleepers are the processes on this machine that only sleep: all of them are the pod's.
func sleepers(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, file := range files { // a zombie has none
		data, err := os.ReadFile(file)
		if s := string(data); err == nil && (s == "sleep\x001000\x00" || s == "/bin/busybox\x00sleep\x001000\x00") {
			out = append(out, file)
		}
	}
	return out
}

// sleepingACI is an image whose hook before or after its app, as $HOOK says, sleeps, with a child.
func sleepingACI(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	sh := `["/bin/busybox", "sh", "-c", "[ $HOOK != %s ] || { /bin/busybox sleep 1000 & exec /bin/busybox sleep 1000; }"]`
	manifest := `{"acKind": "ImageManifest", "acVersion": "0.8.11", "name": "example.com/app",
		"app": {"exec": ["/bin/busybox", "true"], "user": "0", "group": "0", "eventHandlers": [
			{"name": "pre-start", "exec": ` + fmt.Sprintf(sh, "before") + `}, {"name": "post-stop", "exec": ` + fmt.Sprintf(sh, "after") + `}]}}`
	if err := os.MkdirAll(dir+"/rootfs/bin", 0o755); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile("/bin/busybox")
	if err == nil {
		err = os.WriteFile(dir+"/rootfs/bin/busybox", data, 0o755)
	}
	if err == nil {
		err = os.WriteFile(dir+"/manifest", []byte(manifest), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "app.aci")
	if out, err := exec.Command("tar", "-C", dir, "-cf", file, "manifest", "rootfs").CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	return file
}

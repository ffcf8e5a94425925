package stage1_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods"
	"github.com/gantryrun/gantry/tests/await"
	"github.com/gantryrun/gantry/tests/box"
)

// enter starts script in the app, as a client of `gantry enter` would.
func (b *bed) enter(d *pods.Draft, app, script string) *exec.Cmd {
	b.t.Helper()
	cmd := exec.Command(filepath.Join(b.bin, "gantry-launch"), "enter", "--run-dir="+filepath.Join("/run/gantry/pods", d.UUID), "--pod-dir="+d.Path(),
		"--app="+app, "--", "/bin/sh", "-c", script)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	return cmd
}

// Who entered an app and was stopped (Ctrl-Z) collects nobody. That holds up the pod's reaper, and not the pod.
func TestStoppedClient(t *testing.T) {
	for _, pid := range []string{pods.PIDPod, pods.PIDApp} {
		t.Run(pid, func(t *testing.T) {
			if !box.Enter(t) {
				return
			}
			b := newBed(t)
			b.pid = pid
			d := b.prepare(sh("app", "touch /up; exec sleep 1000"))
			cmd := b.start(d, os.Stdout, os.Stderr)
			b.await(d, "app", "up")
			b.awaitReady(d)
			client := b.enter(d, "app", "touch /entered; exec sleep 1000")
			b.await(d, "app", "entered")
			reapers, err := exec.Command("pgrep", "-x", "-P", strconv.Itoa(cmd.Process.Pid), "gantry-init").Output()
			if err != nil {
				t.Fatal(err)
			}
			if err := client.Process.Signal(unix.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Process.Signal(unix.SIGQUIT); err != nil {
				t.Fatal(err)
			}
			hangs := time.AfterFunc(await.Patience, func() {
				t.Error("the pod waits for a client")
				_ = client.Process.Signal(unix.SIGCONT)
			})
			if code := wait(cmd); code != 137 {
				t.Errorf("exit code %d", code)
			}
			hangs.Stop()
			_ = client.Process.Signal(unix.SIGCONT)
			if code := wait(client); code != 137 {
				t.Errorf("the client exited with %d", code)
			}
			for reaper := range strings.FieldsSeq(string(reapers)) {
				await.Until(t, "reaper "+reaper+" to be gone", func() bool {
					_, err := os.Stat("/proc/" + reaper)
					return err != nil
				})
			}
			b.end(d, 137)
		})
	}
}

// Who is on the way into an app when that ends is in its cgroups: he ends with the pod, and is no reason to leave them.
func TestEnteringAtTheEnd(t *testing.T) {
	if !box.Enter(t) {
		return
	}
	b := newBed(t)
	d := b.prepare(sh("app", "touch /up; exec sleep 1000"))
	cmd := b.start(d, os.Stdout, os.Stderr)
	b.await(d, "app", "up")
	b.awaitReady(d)
	run, err := d.Run()
	if err != nil {
		t.Fatal(err)
	}
	var entering []*exec.Cmd
	for _, dir := range run.Cgroups {
		if _, err := os.Stat(dir); err != nil {
			continue // in cgroup2, of a hybrid host: there it is for network plugins
		}
		one := exec.Command("sleep", "1000")
		if err := one.Start(); err != nil {
			t.Fatal(err)
		}
		entering = append(entering, one)
		group := filepath.Join(dir, "app")
		if filepath.Base(filepath.Dir(dir)) == "cpuset" {
			group = dir // the apps share one, see runtime/launch
		}
		if err := os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(strconv.Itoa(one.Process.Pid)), 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := cmd.Process.Signal(unix.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	if code := wait(cmd); code != 137 {
		t.Errorf("exit code %d", code)
	}
	for _, one := range entering {
		_ = one.Process.Kill() // where it was left
		_ = wait(one)
	}
	b.end(d, 137)
}

package stage1_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods"
	"github.com/gantryrun/gantry/tests/await"
	"github.com/gantryrun/gantry/tests/box"
)

// An app that cannot be started again, because there is no room for another process, has failed once more: its policy tries again, and the pod
// goes on as soon as there is room. The limit is that of who started the pod, TasksMax= of a unit.
func TestNoRoomToRestart(t *testing.T) {
	for _, pid := range []string{"pod", pods.PIDApp} {
		t.Run(pid, func(t *testing.T) {
			if !box.Enter(t) {
				return
			}
			const tight = "/sys/fs/cgroup/pids/tight"
			if err := os.Mkdir(tight, 0o755); err != nil {
				t.Skipf("skipped: no cgroup v1 with the controller pids: %v", err)
			}
			t.Cleanup(func() { _ = unix.Rmdir(tight) })
			b := newBed(t)
			b.pid, b.cgroup = pid, tight
			app := sh("app", "trap 'exit 0' TERM; echo x >>/n; while :; do /bin/busybox sleep 0.05 || exit 7; done")
			app.Restart = "on-failure"
			d := b.prepare(app)
			cmd := b.start(d, os.Stdout, os.Stderr)
			b.await(d, "app", "n")
			await.Until(t, "the pod to be ready", d.Ready)
			b.limit("1")
			b.awaitRun(d, "app", 3) // the app's own, which could not fork, and two that nobody could start
			run, _, err := d.LastRun("app")
			if err != nil || run.Code != 254 || run.Again == nil || !strings.Contains(run.Reason, "temporarily unavailable") {
				t.Errorf("record %+v, %v", run, err)
			}
			b.limit("max")
			await.Until(t, "the app to run again", func() bool {
				data, err := os.ReadFile(b.file(d, "app", "n"))
				return err == nil && string(data) == "x\nx\n"
			})
			if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if code := wait(cmd); code != 0 {
				t.Errorf("exit code %d", code)
			}
			b.end(d, 0)
		})
	}
}

// limit sets how many processes there may be in the cgroup that stage1 started in, and below it.
func (b *bed) limit(pids string) {
	b.t.Helper()
	if err := os.WriteFile(filepath.Join(b.cgroup, "pids.max"), []byte(pids), 0); err != nil {
		b.t.Fatal(err)
	}
}

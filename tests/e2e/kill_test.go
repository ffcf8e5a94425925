package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gantryrun/gantry/tests/await"
	"github.com/gantryrun/gantry/tests/box"
	"github.com/gantryrun/gantry/tests/build"
	"github.com/gantryrun/gantry/tests/invariant"
	"github.com/gantryrun/gantry/tests/ociimage"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

const kills = 40

// flavours are flags of pods whose processes end in different ways; an odd number, so that each is had with either network.
var flavours = [][]string{nil, {"--pid=app"}, {"--private-users"}, {"--pid=app", "--private-users"}, {"--pid=host"}}

var pidOf = regexp.MustCompile(`(?m)^pid=(\d+)$`)

// SIGKILL of gantry, which becomes gantry-stage1 on its way, at random moments of its life: no process of the pod
// outlives it, and gc removes all the rest.
func TestKill(t *testing.T) {
	if !box.Enter(t, build.Env(build.Dir(t))) {
		return
	}
	h := newHost(t)
	image := busyboxArchive(t)
	h.must(t, "fetch", image)
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	for n := range kills {
		net := []string{"default", "none"}[n%2]
		uuidFile := filepath.Join(t.TempDir(), fmt.Sprintf("uuid-%d", n))
		cmd := h.command(t, append(append([]string{"run", "--net=" + net, "--uuid-file-save=" + uuidFile}, flavours[n%len(flavours)]...),
			image, "--name=a", "--", "sleep", "300", "---", image, "--name=b", "--", "sleep", "300", "---")...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		delay := time.Duration(random.Int64N(int64(200 * time.Millisecond)))
		time.Sleep(delay)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if left := survivors(t, h); len(left) > 0 {
			t.Fatalf("killed after %v (seed %d), these live on: %v", delay, seed, left)
		}
		if data, err := os.ReadFile(uuidFile); err == nil && len(data) > 0 {
			uuid := strings.TrimSpace(string(data))
			if s := h.state(t, uuid); s != "exited" && s != "prepared" && s != "aborted" && s != "" {
				t.Errorf("killed after %v (seed %d), pod %s is %s", delay, seed, uuid, s)
			}
		}
	}
	h.check(t)
	if t.Failed() {
		t.Logf("seed %d", seed)
	}
}

// SIGKILL of the gantry that waits for a detached pod to be ready: the pod is there or it is not, and whatever is
// there can be stopped and collected.
func TestKillDetached(t *testing.T) {
	if !box.Enter(t, build.Env(build.Dir(t))) {
		return
	}
	h := newHost(t)
	image := busyboxArchive(t)
	h.must(t, "fetch", image)
	for n := range 16 {
		cmd := h.command(t, "run", "--detach", "--net=default", image, "--", "sleep", "300")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(n) * 6 * time.Millisecond)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	for _, uuid := range strings.Fields(h.must(t, "list", "--full", "--no-legend", "--fields=uuid")) {
		if code, _, stderr := h.run(t, "stop", "--force", uuid); code != 0 && !strings.Contains(stderr, "not running") {
			t.Logf("stop %s: %d %s", uuid, code, stderr)
		}
	}
	if left := survivors(t, h); len(left) > 0 {
		t.Errorf("after stop --force these live on: %v", left)
	}
	h.check(t)
}

// SIGKILL of stop, rm and gc: what they leave, the next gc finishes.
func TestKillSweepers(t *testing.T) {
	if !box.Enter(t, build.Env(build.Dir(t))) {
		return
	}
	h := newHost(t)
	image := busyboxArchive(t)
	h.must(t, "fetch", image)
	for n := range 12 {
		uuid := strings.TrimSpace(h.must(t, "run", "--detach", "--net=default", image, "--", "sleep", "300"))
		sweeper := [][]string{{"stop", uuid}, {"rm", "--force", uuid}, {"gc", "--grace-period=0s"}}[n%3]
		if sweeper[0] == "gc" { // it has work where a supervisor was killed
			supervisor := atoi(t, h.field(t, uuid, pidOf))
			_ = syscall.Kill(supervisor, syscall.SIGKILL)
			await.Until(t, "the supervisor's end", func() bool { return h.state(t, uuid) == "exited" })
		}
		cmd := h.command(t, sweeper...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(n) * 3 * time.Millisecond)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if s := h.state(t, uuid); s != "" && s != "exited" {
			h.run(t, "stop", "--force", uuid)
		}
	}
	if left := survivors(t, h); len(left) > 0 {
		t.Errorf("these live on: %v", left)
	}
	h.check(t)
}

// Kills during a fetch leave a store that works, with nothing half-made visible.
func TestKillFetch(t *testing.T) {
	if !box.Enter(t, build.Env(build.Dir(t))) {
		return
	}
	h := newHost(t)
	image := busyboxArchive(t)
	for n := range 10 {
		cmd := h.command(t, "fetch", image)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(n) * 5 * time.Millisecond)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		h.must(t, "image", "list")
	}
	if out := h.must(t, "run", "--net=none", image, "--", "echo", "whole"); out != "whole\n" {
		t.Errorf("stdout %q", out)
	}
	if left := survivors(t, h); len(left) > 0 {
		t.Errorf("these live on: %v", left)
	}
	h.check(t)
}

// survivors are the pod's processes that do not end with the supervisor. The kernel may need a while for it.
func survivors(t *testing.T, h *host) []string {
	t.Helper()
	var left []string
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		now, err := invariant.Take(invariant.Options{})
		if err != nil {
			t.Fatal(err)
		}
		left = now["process"]
		if len(left) == 0 || time.Now().After(deadline) {
			return left
		}
	}
}

// busyboxArchive makes a reference to an OCI archive of busybox.
func busyboxArchive(t *testing.T) string {
	t.Helper()
	layer, err := ociimage.Busybox()
	if err != nil {
		t.Skipf("skipped: %v", err)
	}
	img, err := ociimage.Image(v1.Config{Env: []string{"PATH=/bin"}, Cmd: []string{"sh"}}, layer)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "busybox.tar")
	if err := ociimage.WriteArchive(file, img, "1"); err != nil {
		t.Fatal(err)
	}
	return "oci-archive:" + file
}

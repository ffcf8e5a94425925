package runtime

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/image"
	"github.com/gantryrun/gantry/image/fetch"
	"github.com/gantryrun/gantry/image/order"
	"github.com/gantryrun/gantry/pods"
	"github.com/gantryrun/gantry/tests/ociimage"
)

// The test program is also what the tests execute: under the name gantry-stage1 it is a fake of stage1 that keeps to the
// contract (descriptors, the ready line, signals) and writes down what it found; with GANTRY_TEST_EXEC set it is a gantry
// that runs a prepared pod.
func TestMain(m *testing.M) {
	switch {
	case filepath.Base(os.Args[0]) == stage1Program:
		os.Exit(fakeStage1(os.Args[1:]))
	case os.Getenv("GANTRY_TEST_EXEC") != "":
		os.Exit(execPrepared(os.Getenv("GANTRY_TEST_EXEC")))
	}
	ourMounts, _ = os.Readlink("/proc/self/ns/mnt") // later it may say what a thread of a test has made
	if err := CloseForeign(); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

var ourMounts string

// found is what the fake saw when it was executed.
type found struct {
	PID         int
	Session     int
	Args        []string
	Descriptors map[string]string
	Propagation string // of /
	Namespace   string
}

func look() found {
	f := found{PID: os.Getpid(), Args: os.Args[1:], Descriptors: map[string]string{}}
	f.Session, _ = unix.Getsid(0)
	entries, _ := os.ReadDir("/proc/self/fd")
	for _, e := range entries {
		if target, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && !strings.HasPrefix(target, "anon_inode") && !strings.HasPrefix(target, "/proc/") &&
			!strings.HasPrefix(target, "/sys/fs/cgroup/") { // Go's runtime watches its CPU quota
			f.Descriptors[e.Name()] = target
		}
	}
	f.Namespace, _ = os.Readlink("/proc/self/ns/mnt")
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); fields[4] == "/" {
			f.Propagation = strings.Join(fields[6:], " ")
			break
		}
	}
	return f
}

// fakeStage1 does what the file "fake" in the pod directory's parent says: "ready", "fail", "die", or "supervise".
func fakeStage1(args []string) int {
	if args[0] == "reset-network" { // gc's last word on a machine that had networks; it names no pod
		return 0
	}
	path := args[len(args)-1]
	saw := look()
	how, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "fake"))
	data, _ := json.Marshal(saw)
	_ = os.WriteFile(filepath.Join(filepath.Dir(path), "found-"+args[0]), data, 0o600)
	if args[0] == "undo" {
		if string(how) == "undo fails" {
			fmt.Fprintln(os.Stderr, "cannot undo")
			return 1
		}
		return 0
	}
	ready := os.NewFile(pods.ReadyFD, "ready")
	switch string(how) {
	case "fail":
		fmt.Fprintln(ready, `{"error":"no such program","code":127}`)
		return 127
	case "die":
		return 1
	case "supervise":
		return fakeSupervisor(path, ready)
	}
	if len(args) == 3 {
		fmt.Fprintln(ready, `{"ready":true}`)
	}
	return 0
}

// fakeSupervisor announces itself and waits to be stopped; its exit code is the signal's number.
func fakeSupervisor(path string, ready *os.File) int {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.Signal(pods.StopSignal), unix.SIGQUIT)
	pod, err := pods.OpenDir(path)
	if err != nil {
		return 1
	}
	start, _ := pods.ProcessStart(os.Getpid())
	_ = pod.WriteRun(&pods.Run{BootID: pods.BootID(), PID: os.Getpid(), StartTime: start, Started: time.Now()})
	_ = pod.WriteReady()
	fmt.Fprintln(ready, `{"ready":true}`)
	_ = ready.Close()
	sig := <-signals
	code := int(sig.(unix.Signal))
	_ = pod.WriteExit(&pods.Exit{Code: code, Finished: time.Now()})
	return code
}

// needsRoot says why a test does not run.
func needsRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: it changes owners, makes a mount namespace")
	}
}

// testRuntime is a stage0 with a store of unpacked trees, one image, and the fake stage1. It mounts nothing.
func testRuntime(t *testing.T) *Runtime {
	t.Helper()
	needsRoot(t)
	dir := t.TempDir()
	store, err := image.Open(dir, image.Options{Backend: image.Dir, RunDir: filepath.Join(dir, "run")})
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(dir, "bin")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	// A copy and not a link: programs must be regular files.
	if err := os.Link(self, filepath.Join(bin, stage1Program)); err != nil {
		data, err := os.ReadFile(self)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(bin, stage1Program), data, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	r := &Runtime{Dir: dir, Store: store, Programs: Programs{Dir: bin}}
	c := &fetch.Client{Store: store}
	r.Fetch = func(ctx context.Context, ref image.Ref, _ string) error {
		_, err := c.Fetch(ctx, ref, order.Options{})
		return err
	}
	return r
}

// testImage writes the image of the tests into an OCI layout, and returns its reference.
func testImage(t *testing.T) image.Ref {
	t.Helper()
	layer, err := ociimage.Layer(
		ociimage.Dir("etc"), ociimage.File("etc/passwd", "root:x:0:0::/root:/bin/sh\nweb:x:101:102::/home/web:/bin/sh\n"),
		ociimage.File("etc/group", "root:x:0:\nextra:x:500:web\n"),
		ociimage.Dir("var"), ociimage.Dir("var/data"), ociimage.File("var/data/seed", "seed"), ociimage.Link("var/data/out", "/etc/passwd"),
	)
	if err != nil {
		t.Fatal(err)
	}
	img, err := ociimage.Image(v1.Config{Cmd: []string{"/bin/app"}, User: "web", Volumes: map[string]struct{}{"/var/data": {}}}, layer)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "layout")
	if err := ociimage.WriteLayout(dir, img, "app:1"); err != nil {
		t.Fatal(err)
	}
	ref, err := image.ParseRef("oci:" + dir + ":app:1")
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func request(ref image.Ref) *Request {
	req := &Request{Apps: []AppRequest{{Image: ref, Essential: true}}}
	req.Net.Mode = "none"
	return req
}

// fake tells the fake stage1 what to do.
func fake(t *testing.T, r *Runtime, how string) {
	t.Helper()
	if err := os.MkdirAll(r.Pods().Path(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(r.Pods().Path(), "fake"), []byte(how), 0o600); err != nil {
		t.Fatal(err)
	}
}

func foundBy(t *testing.T, r *Runtime, verb string) *found {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(r.Pods().Path(), "found-"+verb))
	if err != nil {
		return nil
	}
	f := &found{}
	if err := json.Unmarshal(data, f); err != nil {
		t.Fatal(err)
	}
	return f
}

func prepare(t *testing.T, r *Runtime, ref image.Ref) *Prepared {
	t.Helper()
	p, err := r.Prepare(t.Context(), request(ref))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func stateOf(t *testing.T, pod *pods.Pod) pods.State {
	t.Helper()
	s, err := pod.State()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

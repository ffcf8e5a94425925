package runtime

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/image"
	"github.com/gantryrun/gantry/pods"
	"github.com/gantryrun/gantry/tests/await"
)

// execPrepared is the other process of TestExec: it becomes the supervisor of the pod at path.
func execPrepared(path string) int {
	dir := filepath.Dir(filepath.Dir(path))
	store, err := image.Open(dir, image.Options{Backend: image.Dir, RunDir: filepath.Join(dir, "run")})
	if err != nil {
		return 1
	}
	r := &Runtime{Dir: dir, Store: store, Programs: Programs{Dir: filepath.Join(dir, "bin")}}
	pod, err := r.Pods().Open(filepath.Base(path))
	if err == nil {
		var p *Prepared
		if p, err = r.TakePrepared(contextOf(), pod); err == nil {
			err = r.Exec(p)
		}
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// TestExec: the supervisor is the same process, in a mount namespace of its own that follows the host's, with the pod, its
// lock, the caller's streams and a launcher that was started ahead and lives no longer than the other end of its socket, and nothing else
// that the caller had open.
func TestExec(t *testing.T) {
	r, ref := testRuntime(t), testImage(t)
	p := prepare(t, r, ref)
	if err := p.Release(); err != nil {
		t.Fatal(err)
	}
	fake(t, r, "")
	const launch = "#!/bin/sh\nexec cat <&3\n" // until nobody holds the other end
	if err := os.WriteFile(filepath.Join(r.Programs.Dir, "gantry-launch"), []byte(launch), 0o755); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	secret, err := os.Open("/etc/hostname")
	if err != nil {
		t.Fatal(err)
	}
	defer secret.Close()
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), "GANTRY_TEST_EXEC="+p.path)
	cmd.ExtraFiles = []*os.File{secret, secret, nil, nil, nil, nil, secret} // 3, 4 and 9: as a careless caller leaves them
	out, err := cmd.CombinedOutput()                                        // that of the launcher too: it is gone by then
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	f := foundBy(t, r, "run")
	if f == nil {
		t.Fatal("stage1 was not executed")
	}
	if f.PID != cmd.Process.Pid {
		t.Errorf("process %d became %d", cmd.Process.Pid, f.PID)
	}
	descriptors, args := []string{"0", "1", "2", "3", "4", "6"}, []string{"run"}
	if _, err := os.Stat(pods.HybridMount); err == nil {
		descriptors, args = append(descriptors, "7"), append(args, "--hybrid")
	}
	checkHandover(t, f, p.path, descriptors...)
	if len(f.Args) != len(args)+2 || !slices.Equal(f.Args[:len(args)], args) || !strings.HasPrefix(f.Args[len(args)], "--launcher=") || f.Args[len(args)+1] != p.path {
		t.Errorf("arguments %v", f.Args)
	}
	if !strings.HasPrefix(f.Descriptors["6"], "socket:") {
		t.Errorf("the launcher's socket is %q", f.Descriptors["6"])
	}
}

// TestDropAhead: a pod that is prepared to be run and then is not leaves no launcher behind.
func TestDropAhead(t *testing.T) {
	r, ref := testRuntime(t), testImage(t)
	fake(t, r, "")
	pid := filepath.Join(t.TempDir(), "pid")
	launch := "#!/bin/sh\necho $$ >" + pid + "\nexec cat <&3\n"
	if err := os.WriteFile(filepath.Join(r.Programs.Dir, "gantry-launch"), []byte(launch), 0o755); err != nil {
		t.Fatal(err)
	}
	req := request(ref)
	req.Run, req.Becomes = true, true
	p, err := r.Prepare(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	var data []byte
	await.Until(t, "a launcher that was started ahead", func() bool { // it may still be on its way, and Drop ends it there
		data, _ = os.ReadFile(pid)
		return strings.HasSuffix(string(data), "\n")
	})
	if err := r.Drop(p); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat("/proc/" + strings.TrimSpace(string(data))); err == nil {
		t.Errorf("the launcher, process %s, lives on", data)
	}
}

func checkHandover(t *testing.T, f *found, path string, want ...string) {
	t.Helper()
	var have []string
	for fd := range f.Descriptors {
		have = append(have, fd)
	}
	slices.Sort(have)
	if !slices.Equal(have, want) {
		t.Errorf("open descriptors: %v", f.Descriptors)
	}
	if f.Descriptors["3"] != path || f.Descriptors["4"] != path+"/lock" {
		t.Errorf("3 and 4 are %q and %q", f.Descriptors["3"], f.Descriptors["4"])
	}
	if f.Namespace == ourMounts {
		t.Error("the mount namespace is ours")
	}
	if strings.Contains(f.Propagation, "shared:") {
		t.Errorf("mounts propagate back: %q", f.Propagation)
	}
}

func TestStart(t *testing.T) {
	for _, tt := range []struct {
		how  string
		want string
		code int
	}{{"", "", 0}, {"fail", "no such program", 127}, {"die", "died before the pod was ready", 254}} {
		t.Run("stage1 "+tt.how, func(t *testing.T) {
			r, ref := testRuntime(t), testImage(t)
			fake(t, r, tt.how)
			p := prepare(t, r, ref)
			err := r.Start(t.Context(), p)
			var failed *StartError
			switch {
			case tt.want == "" && err != nil:
				t.Fatal(err)
			case tt.want != "" && (!errors.As(err, &failed) || !strings.Contains(failed.Message, tt.want) || failed.Code != tt.code):
				t.Fatalf("got %v", err)
			}
			f := foundBy(t, r, "run")
			checkHandover(t, f, p.path, "0", "1", "2", "3", "4", "5")
			if f.Session != f.PID {
				t.Errorf("process %d is in session %d", f.PID, f.Session)
			}
			for _, fd := range []string{"0", "1", "2"} {
				if f.Descriptors[fd] != "/dev/null" {
					t.Errorf("%s is %s", fd, f.Descriptors[fd])
				}
			}
		})
	}
}

func TestStartWithoutStage1(t *testing.T) {
	r, ref := testRuntime(t), testImage(t)
	p := prepare(t, r, ref)
	r.Programs.Dir = t.TempDir()
	if err := r.Start(t.Context(), p); !errors.Is(err, ErrProgram) {
		t.Skipf("another stage1 is installed on this machine: %v", err)
	}
	if err := r.Drop(p); err != nil {
		t.Fatal(err)
	}
	if uuids, err := r.Pods().UUIDs(); err != nil || len(uuids) != 0 {
		t.Errorf("left behind: %v %v", uuids, err)
	}
}

// supervised starts a pod whose fake supervisor stays.
func supervised(t *testing.T, r *Runtime, ref image.Ref) *pods.Pod {
	t.Helper()
	fake(t, r, "supervise")
	p := prepare(t, r, ref)
	if err := r.Start(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	pod, err := r.Pods().Open(p.UUID)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = Stop(contextOf(), pod, StopOptions{Force: true})
		_ = pod.Close()
	})
	return pod
}

func TestStop(t *testing.T) {
	for _, tt := range []struct {
		name string
		opts StopOptions
		code unix.Signal
	}{{"in order", StopOptions{}, unix.Signal(pods.StopSignal)}, {"at once", StopOptions{Force: true}, unix.SIGQUIT}} {
		t.Run(tt.name, func(t *testing.T) {
			r, ref := testRuntime(t), testImage(t)
			pod := supervised(t, r, ref)
			if err := WaitReady(t.Context(), pod); err != nil {
				t.Fatal(err)
			}
			if err := Stop(t.Context(), pod, tt.opts); err != nil {
				t.Fatal(err)
			}
			exit, err := pod.Exit()
			if err != nil || exit.Code != int(tt.code) {
				t.Errorf("%+v %v", exit, err)
			}
			if err := Stop(t.Context(), pod, tt.opts); err != nil {
				t.Errorf("of a pod that is over: %v", err)
			}
		})
	}
}

// TestStopSparesStrangers: a PID that was given to somebody else since run.json was written gets no signal.
func TestStopSparesStrangers(t *testing.T) {
	stranger := exec.Command("sleep", "60")
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = stranger.Process.Kill()
		_ = stranger.Wait()
	}()
	start, err := pods.ProcessStart(stranger.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openProcess(stranger.Process.Pid, start-1); !errors.Is(err, ErrState) {
		t.Errorf("another start time: %v", err)
	}
	p, err := openProcess(stranger.Process.Pid, start)
	if err != nil {
		t.Fatal(err)
	}
	p.close()
}

func TestRunOnce(t *testing.T) {
	r, ref := testRuntime(t), testImage(t)
	pod := supervised(t, r, ref)
	if _, err := r.TakePrepared(t.Context(), pod); !errors.Is(err, ErrState) {
		t.Errorf("while it runs: %v", err)
	}
	if err := r.Remove(t.Context(), pod, false); !errors.Is(err, ErrState) {
		t.Errorf("remove while it runs: %v", err)
	}
	if err := Stop(t.Context(), pod, StopOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.TakePrepared(t.Context(), pod); !errors.Is(err, ErrState) || !strings.Contains(err.Error(), "runs once") {
		t.Errorf("after it ran: %v", err)
	}
}

func TestForceRemove(t *testing.T) {
	r, ref := testRuntime(t), testImage(t)
	pod := supervised(t, r, ref)
	if err := r.Remove(t.Context(), pod, true); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Pods().Open(pod.UUID); !errors.Is(err, pods.ErrNotFound) {
		t.Errorf("still there: %v", err)
	}
}

func TestStatus(t *testing.T) {
	r, ref := testRuntime(t), testImage(t)
	pod := supervised(t, r, ref)
	s, err := ReadStatus(r.Pods(), pod)
	if err != nil || s.State != pods.Running || s.PID == 0 || !s.Ready || len(s.Status) != 1 || s.Reason != "" {
		data, _ := json.Marshal(s)
		t.Fatalf("%s %v", data, err)
	}
	p, err := openProcess(s.PID, mustStart(t, s.PID))
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	if err := p.signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := Wait(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	if s, err := ReadStatus(r.Pods(), pod); err != nil || s.State != pods.Exited || s.Reason != "the supervisor was killed" {
		t.Errorf("after its death: %+v %v", s, err)
	}
}

func mustStart(t *testing.T, pid int) uint64 {
	t.Helper()
	start, err := pods.ProcessStart(pid)
	if err != nil {
		t.Fatal(err)
	}
	return start
}

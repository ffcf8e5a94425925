package launch_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// victim is what TestSupervisorToKill tells the test that kills it.
type victim struct {
	PIDs   []int
	Cgroup string
}

// TestSupervisorToKill is a supervisor in a process of its own, for TestSupervisorDies.
func TestSupervisorToKill(t *testing.T) {
	if os.Getenv(binariesVariable) == "" {
		t.Skip("skipped: it is the other half of TestSupervisorDies, which runs it")
	}
	p := newPod(t)
	v := victim{PIDs: []int{p.reaper.Process.Pid}, Cgroup: p.cgroup}
	// The second one is deaf to everything, and has a child.
	for _, a := range p.start(nil, p.app("one", nil, "sleep", "1000"),
		p.app("two", nil, "sh", "-c", "trap '' TERM INT HUP; sleep 1000; sleep 1000")) {
		if a.Error != "" {
			t.Fatal(a.Error)
		}
		v.PIDs = append(v.PIDs, a.PID)
	}
	data, err := json.Marshal(v)
	p.must(err)
	fmt.Printf("%s\n", data)
	select {}
}

// TestSupervisorDies: SIGKILL of the supervisor is the death of the pod.
func TestSupervisorDies(t *testing.T) {
	p := newPod(t)
	cmd := exec.Command(os.Args[0], "-test.run=^TestSupervisorToKill$")
	cmd.Env = append(os.Environ(), binariesVariable+"="+p.bin, "TMPDIR="+t.TempDir())
	out, err := cmd.StdoutPipe()
	p.must(err)
	p.must(cmd.Start())
	var v victim
	line, err := bufio.NewReader(out).ReadBytes('\n')
	p.must(err)
	p.must(json.Unmarshal(line, &v))
	var watch []unix.PollFd
	for _, pid := range v.PIDs {
		fd, err := unix.PidfdOpen(pid, 0)
		p.must(err)
		defer unix.Close(fd)
		watch = append(watch, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
	}
	p.must(cmd.Process.Kill())
	for deadline := time.Now().Add(time.Minute); ; {
		_, _ = unix.Poll(watch, 10)
		for { // the orphans come to us, and the reaper does not end before they are collected
			if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); err != nil || pid <= 0 {
				break
			}
		}
		if !slices.ContainsFunc(watch, func(fd unix.PollFd) bool { return fd.Revents == 0 }) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the supervisor is dead, and of the processes %v some live: %v", v.PIDs, watch)
		}
	}
	_ = p.reaper.Process.Kill() // this test's own, so that everything can be collected
	reapAll(t)
	for _, dir := range cgroupDirs(t, v.Cgroup) {
		p.must(removeCgroup(dir))
	}
}

// TestSupervisorDiesDuringStart: gantry-launch itself kills what no reaper would, here an app in the host's PID namespace.
func TestSupervisorDiesDuringStart(t *testing.T) {
	p := newPod(t)
	hostPID := func(s *specs.Spec) {
		s.Linux.Namespaces = append(s.Linux.Namespaces[:2:2], s.Linux.Namespaces[3:]...)
	}
	for _, delay := range []time.Duration{0, 5, 10, 15, 20, 25, 30} {
		t.Run(fmt.Sprintf("after %d ms", delay), func(t *testing.T) {
			cmd, conn := p.launcher()
			_, err := conn.Write(p.request(p.app("app", hostPID, "sleep", "1000")))
			p.must(err)
			time.Sleep(delay * time.Millisecond)
			p.must(conn.Close())
			killed := cmd.Wait() != nil // or it had answered, and was through
			pids := p.processes(t)
			for deadline := time.Now().Add(time.Minute); killed && len(pids) > 0; pids = p.processes(t) {
				if time.Now().After(deadline) { // they need not be dead yet, when they have been killed
					t.Errorf("processes %v are left behind", pids)
					break
				}
			}
			p.killCgroup(t)
		})
	}
}

// TestLauncherDies: whenever gantry-launch is killed, all that it started dies with the pod's cgroup and nothing escapes.
func TestLauncherDies(t *testing.T) {
	p := newPod(t)
	for delay := range 12 {
		cmd, conn := p.launcher()
		_, err := conn.Write(p.request(p.app("app", nil, "sleep", "1000")))
		p.must(err)
		time.Sleep(time.Duration(delay) * 3 * time.Millisecond)
		p.must(cmd.Process.Kill())
		_ = cmd.Wait()
		p.must(conn.Close())
		// What was not in the cgroup yet dies of its broken pipes.
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
			p.killCgroup(t)
			if children(t) == 1 { // the reaper
				break
			}
			if time.Now().After(deadline) {
				t.Errorf("killed after %d ms: %d processes are left behind", delay*3, children(t)-1)
				break
			}
		}
		p.must(os.RemoveAll(p.stateDir()))
	}
}

// processes are those in the pod's cgroups.
func (p *pod) processes(t *testing.T) map[int]bool {
	t.Helper()
	pids := map[int]bool{}
	for _, dir := range cgroupDirs(t, p.cgroup) {
		files, err := filepath.Glob(dir + "/*/cgroup.procs")
		p.must(err)
		for _, file := range files {
			data, _ := os.ReadFile(file)
			for field := range strings.FieldsSeq(string(data)) {
				pid, err := strconv.Atoi(field)
				p.must(err)
				if !zombie(pid) {
					pids[pid] = true
				}
			}
		}
	}
	return pids
}

func zombie(pid int) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(data), ") ")
	return err != nil || strings.HasPrefix(rest, "Z")
}

// killCgroup does what a supervisor does when its launcher died.
func (p *pod) killCgroup(t *testing.T) {
	t.Helper()
	for pid := range p.processes(t) {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
	for { // collect, but leave the reaper
		if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); err != nil || pid <= 0 {
			break
		}
	}
}

// children counts the children of this process.
func children(t *testing.T) int {
	t.Helper()
	n := 0
	tasks, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range tasks {
		data, _ := os.ReadFile(file)
		n += len(strings.Fields(string(data)))
	}
	return n
}

package launch_test

import (
	"bufio"
	"fmt"
	"maps"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/tests/await"
)

// TestEnterKilled: a client that is killed, whenever that is, takes its command along; of a terminal all of its session.
func TestEnterKilled(t *testing.T) {
	p := newPod(t)
	p.startEntered(nil, p.profile(nil), "true")
	before := p.processes(t)
	gone := func(t *testing.T, client *exec.Cmd) {
		t.Helper()
		if client.ProcessState == nil {
			p.must(client.Process.Kill())
			_ = client.Wait()
		}
		await.Success(t, "its command to be gone", func() error {
			now := p.processes(t)
			if maps.Equal(now, before) {
				return nil
			}
			for { // of a client that is dead they are ours
				if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); err != nil || pid <= 0 {
					break
				}
			}
			return fmt.Errorf("these were there before: %v; these are there now: %v", before, now)
		})
	}
	t.Run("its command runs", func(t *testing.T) {
		cmd := p.enter("--", "sh", "-c", "trap '' HUP TERM INT; echo ready; exec sleep 1000")
		out, err := cmd.StdoutPipe()
		p.must(err)
		p.must(cmd.Start())
		if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
			t.Fatalf("got %q (%v)", line, err)
		}
		gone(t, cmd)
	})
	t.Run("its time is over", func(t *testing.T) {
		cmd := p.enter("--limit=300ms", "--", "sh", "-c", "sleep 1000; true")
		out, _ := cmd.CombinedOutput() // to its end: nobody is left who has it open
		if code := cmd.ProcessState.ExitCode(); code != 137 || len(out) > 0 {
			t.Errorf("exit code %d: %s", code, out)
		}
		gone(t, cmd)
	})
	t.Run("on a terminal", func(t *testing.T) {
		master, slave := openTerminal(t)
		cmd := p.enter("--tty", "--", "sh", "-c", "echo ready; sleep 1000; sleep 1000")
		cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
		p.must(cmd.Start())
		p.must(master.SetReadDeadline(time.Now().Add(30 * time.Second)))
		if line, err := bufio.NewReader(master).ReadString('\n'); line != "ready\r\n" {
			t.Fatalf("got %q (%v)", line, err)
		}
		gone(t, cmd)
	})
	t.Run("while it starts", func(t *testing.T) {
		for n := range 30 {
			cmd := p.enter("--", "sleep", "1000")
			p.must(cmd.Start())
			time.Sleep(time.Duration(n) * time.Millisecond)
			gone(t, cmd)
		}
	})
}

// Where the app has as many processes as it may have, who wants to enter either gets in, if all that it takes was there before it joined, or is told
// so in one line and not in the words of Go's runtime.
func TestEnterFull(t *testing.T) {
	p := newPod(t)
	p.startEntered(func(s *specs.Spec) {
		limit := int64(3)
		s.Linux.Resources = &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: &limit}}
	}, p.profile(nil), "sleep 1000 & true")
	for range 10 {
		cmd := p.enter("--", "true")
		out, _ := cmd.CombinedOutput()
		const want = "gantry: enter: there is no room for another process: a limit is reached, --pids or --ulimit=nproc of the app, or one of who called gantry\n"
		if code := cmd.ProcessState.ExitCode(); (string(out) != want || code != 254) && (len(out) > 0 || code != 0) {
			t.Errorf("exit code %d: %s", code, out)
		}
	}
}

package hosts_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gantryrun/gantry/tests/await"
)

const watched = "[Unit]\nStartLimitIntervalSec=0\n" + contract + "Restart=on-failure\nRestartSec=50ms\nTimeoutAbortSec=1\n"

// A supervisor that is well outlives its watchdog; one that hangs does not, and nothing of its pod is left under the next.
func TestWatchdog(t *testing.T) {
	m := boot(t)
	m.unit(t, "watched.service", watched+"WatchdogSec=4\n"+run+busybox+" -- sleep 1000\n")
	m.start(t, "watched.service")
	beat := func() int {
		n, err := strconv.Atoi(m.show(t, "watched.service", "WatchdogTimestampMonotonic")) // in microseconds
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	first := beat()
	await.Until(t, "words for longer than the watchdog waits", func() bool { return beat() > first+5e6 })
	if n := m.show(t, "watched.service", "NRestarts"); n != "0" {
		t.Fatalf("restarted %s times while it was well:\n%s", n, m.journal(t, "watched.service"))
	}
	uuid := m.uuid(t, "watched.service")
	m.sh(t, fmt.Sprintf("kill -STOP %d", m.mainPID(t, "watched.service")))
	await.Until(t, "a new pod", func() bool {
		return m.show(t, "watched.service", "NRestarts") == "1" && m.show(t, "watched.service", "SubState") == "running"
	})
	if left := m.traces(t, uuid); left != "" {
		t.Errorf("left behind: %s", left)
	}
}

// Without WatchdogSec= nobody wakes up: the supervisor has no timer.
func TestNoWatchdog(t *testing.T) {
	m := boot(t)
	// wakeups counts the voluntary switches within two seconds, and again until that is a count that ok takes: a supervisor
	// that has just started has things to do, and a busy machine is late.
	wakeups := func(unit, lines string, ok func(n int) bool) (n int) {
		m.unit(t, unit, contract+lines+run+busybox+" -- sleep 1000\n")
		m.start(t, unit)
		pid := m.mainPID(t, unit)
		count := func() (n int) {
			for _, s := range strings.Fields(m.sh(t, fmt.Sprintf("sed -n 's/^voluntary_ctxt_switches://p' /proc/%d/task/*/status", pid))) {
				i, err := strconv.Atoi(s)
				if err != nil {
					t.Fatal(err)
				}
				n += i
			}
			return n
		}
		for deadline := time.Now().Add(await.Patience); time.Now().Before(deadline); {
			before := count()
			time.Sleep(2 * time.Second)
			if n = count() - before; ok(n) {
				break
			}
		}
		return n
	}
	without := wakeups("idle.service", "", func(n int) bool { return n <= 2 })
	with := wakeups("beating.service", "WatchdogSec=2\n", func(n int) bool { return n > 2 })
	m.must(t, "systemctl", "stop", "idle.service", "beating.service")
	t.Logf("voluntary switches in two seconds: %d without, %d with WatchdogSec=2", without, with)
	if without > 2 || with <= 2 {
		t.Errorf("voluntary switches in two seconds: %d without, want 2 at most; %d with WatchdogSec=2, want more", without, with)
	}
}

// An app that is watched too has to say that it is alive, as often as the unit says; one that does not is the end of the unit.
func TestWatchdogOfApp(t *testing.T) {
	m := boot(t)
	m.withTools(t)
	alive := strings.Repeat(" WATCHDOG=1 'sleep 800'", 8)
	m.unit(t, "hanging.service", watched+"WatchdogSec=4\n"+run+busybox+" --name=other -- sleep 1000 --- "+
		tools+" --name=web --watchdog -- sh -c 'echo \"period $$WATCHDOG_USEC\"; exec tool notify"+strings.ReplaceAll(alive, "'", "\\\"")+"'\n")
	m.start(t, "hanging.service")
	await.Until(t, "a status", func() bool {
		return strings.Contains(m.show(t, "hanging.service", "StatusText"), "app web has said no WATCHDOG=1 for 4s")
	})
	await.Until(t, "the watchdog", func() bool { return m.show(t, "hanging.service", "NRestarts") != "0" })
	j := m.journal(t, "hanging.service")
	if !strings.Contains(j, "period 4000000\n") {
		t.Errorf("no period:\n%s", j)
	}
	if !strings.Contains(j, "notified\n") { // the tool's word after all of its messages
		t.Errorf("restarted while it was well:\n%s", j)
	}
}

// What apps say of themselves reaches systemd, as far as it is theirs to say.
func TestNotifyOfApps(t *testing.T) {
	m := boot(t)
	m.withTools(t)
	m.unit(t, "saying.service", contract+"TimeoutStartSec=15\nFileDescriptorStoreMax=10\n"+run+busybox+" --name=other -- sleep 1000 --- "+tools+" --name=web --ready=notify -- tool notify "+
		`"MAINPID=1\nSTATUS=warming \033[31mup\nEXTEND_TIMEOUT_USEC=60000000" "sleep 17000" "FDSTORE=1\nBUSERROR=x\nSTOPPING=1\nERRNO=5" "STATUS=one" "STATUS=two" READY=1 "sleep 300" "STATUS=serving" WATCHDOG=trigger`+"\n")
	m.must(t, "systemctl", "start", "--no-block", "saying.service")
	await.Until(t, "the app's status", func() bool { return m.show(t, "saying.service", "StatusText") == "web: warming [31mup" })
	if s := m.show(t, "saying.service", "ActiveState"); s != "activating" {
		t.Errorf("before READY=1 it is %s", s)
	}
	pid := m.mainPID(t, "saying.service")
	await.Until(t, "the last status", func() bool { return m.show(t, "saying.service", "StatusText") == "web: serving" })
	if s := m.show(t, "saying.service", "ActiveState"); s != "active" {
		t.Errorf("in the end it is %s:\n%s", s, m.journal(t, "saying.service"))
	}
	if now := m.mainPID(t, "saying.service"); now != pid {
		t.Errorf("the app made itself the main process, %d in place of %d", now, pid)
	}
	if n := m.show(t, "saying.service", "NFileDescriptorStore"); n != "0" {
		t.Errorf("the app put %s descriptors into systemd's store", n)
	}
	m.must(t, "gantry", "kill", "--app=web", m.uuid(t, "saying.service"))
	await.Until(t, "the end", func() bool { return m.show(t, "saying.service", "ActiveState") == "failed" })
	if s := m.show(t, "saying.service", "StatusText"); s != "app web exited with 137" {
		t.Errorf("the last status is %q", s)
	}
}

// A systemd that reads nothing does not hold up a pod whose app talks all the time.
func TestNotifyFrozen(t *testing.T) {
	m := boot(t)
	m.withTools(t)
	m.unit(t, "chatty.service", contract+run+tools+" --name=web --ready=notify -- tool notify READY=1 loop STATUS=talking\n")
	m.start(t, "chatty.service")
	uuid := m.uuid(t, "chatty.service")
	qlen, err := os.ReadFile(m.Path("/proc/sys/net/unix/max_dgram_qlen"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.WriteFile(m.Path("/proc/sys/net/unix/max_dgram_qlen"), qlen, 0o644) }()
	thaw, err := m.Freeze()
	if err != nil {
		t.Fatal(err)
	}
	defer thaw()
	time.Sleep(3 * time.Second) // 30 words of the app's: more than the kernel queues
	start := time.Now()
	m.must(t, "gantry", "status", uuid)
	m.must(t, "gantry", "stop", uuid)
	if d := time.Since(start); d > await.Patience {
		t.Errorf("status and stop took %v", d)
	}
}

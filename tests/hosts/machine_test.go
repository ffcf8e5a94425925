package hosts_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gantryrun/gantry/tests/await"
)

// machines are what machinectl lists.
func (m machine) machines(t *testing.T) string {
	t.Helper()
	return m.sh(t, "machinectl list --no-legend --no-pager | sed 's/ .*//'")
}

// With --register, machinectl lists the pod, shows its processes, and powers it off, which is an ordered stop.
func TestMachine(t *testing.T) {
	m := boot(t)
	m.unit(t, "machine.service", "[Unit]\nStartLimitIntervalSec=0\n"+contract+"Restart=on-failure\nRestartSec=50ms\n"+strings.Replace(run, "run ", "run --register ", 1)+
		busybox+" --name=web -- sh -c 'trap \"echo bye; exit 0\" TERM; sleep 1000 & wait'\n")
	m.start(t, "machine.service")
	name := "gantry-" + m.uuid(t, "machine.service")
	await.Until(t, "the machine", func() bool { return m.machines(t) == name })
	for _, want := range []string{"sleep 1000", "machine.service", fmt.Sprintf("Leader: %d (gantry-stage1)", m.mainPID(t, "machine.service")), "gantry; class vm"} {
		await.Until(t, "machinectl status to have "+want, func() bool { return strings.Contains(m.must(t, "machinectl", "status", "--no-pager", name), want) })
	}
	// Nobody enters the host by the pod's name.
	for line, want := range map[string]string{
		"machinectl shell " + name + " /bin/touch /run/entered":        "not supported",
		"machinectl login " + name:                                     "not supported",
		"machinectl copy-to " + name + " /etc/passwd /run/entered":     "only supported on container machines",
		"machinectl bind --mkdir " + name + " /etc /run/entered":       "only supported on container machines",
		"systemd-run --machine=" + name + " --pipe touch /run/entered": "Failed to connect",
	} {
		code, _, stderr := m.run(t, "sh", "-c", line+" </dev/null")
		if code == 0 || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit code %d: %s", line, code, stderr)
		}
	}
	if code, _, _ := m.run(t, "test", "-e", "/run/entered"); code == 0 {
		t.Error("somebody entered the host")
	}
	// The machine of a supervisor that was killed goes with its pod, while the unit goes on.
	m.sh(t, fmt.Sprintf("kill -KILL %d", m.mainPID(t, "machine.service")))
	await.Until(t, "the next machine alone", func() bool { now := m.machines(t); return now != name && now == "gantry-"+m.uuid(t, "machine.service") })
	m.must(t, "machinectl", "poweroff", m.machines(t))
	await.Until(t, "the end", func() bool { return m.show(t, "machine.service", "ActiveState") == "inactive" })
	if j := m.journal(t, "machine.service"); !strings.Contains(j, "bye\n") {
		t.Errorf("the app was not asked to stop:\n%s", j)
	}
	if left := m.machines(t); left != "" {
		t.Errorf("left behind: %s", left)
	}
}

// Whatever sits where the bus should be costs a pod nothing but its place in the list.
func TestMachineWithoutBus(t *testing.T) {
	m := boot(t)
	for name, bus := range map[string]func(net.Conn){
		"silent":  func(net.Conn) {},
		"lying":   func(c net.Conn) { _, _ = c.Write([]byte(strings.Repeat("OK nonsense\r\n\xff", 100))) },
		"refuses": func(c net.Conn) { _, _ = c.Write([]byte("REJECTED EXTERNAL\r\n")) },
		"gone":    nil,
	} {
		t.Run(name, func(t *testing.T) { withoutBus(t, m, bus) })
	}
}

func withoutBus(t *testing.T, m machine, bus func(net.Conn)) {
	socket := filepath.Join(m.Share, "fakebus")
	if bus != nil {
		l, err := net.Listen("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			var held []net.Conn // open, as long as somebody waits
			for {
				c, err := l.Accept()
				if err != nil {
					for _, c := range held {
						_ = c.Close()
					}
					return
				}
				held = append(held, c)
				go bus(c)
			}
		}()
	}
	m.unit(t, "nobus.service", contract+"Environment=DBUS_SYSTEM_BUS_ADDRESS=unix:path=/mnt/fakebus\n"+strings.Replace(run, "run ", "run --register ", 1)+busybox+" -- sleep 1000\n")
	took := func(what string, args ...string) {
		t.Helper()
		start := time.Now()
		m.must(t, args...)
		d := time.Since(start)
		t.Logf("%s: %v", what, d.Round(time.Millisecond))
		if d > await.Patience/3 { // what waits for a bus does so for 25 seconds at least
			t.Errorf("%s took %v", what, d)
		}
	}
	took("start", "systemctl", "start", "nobus.service")
	took("status", "gantry", "status", m.uuid(t, "nobus.service"))
	took("stop", "systemctl", "stop", "nobus.service")
	if r := m.show(t, "nobus.service", "Result"); r != "success" {
		t.Errorf("result %s", r)
	}
	if bus == nil {
		return
	}
	if err := os.Remove(socket); err != nil && !os.IsNotExist(err) {
		t.Error(err)
	}
}

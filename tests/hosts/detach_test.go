package hosts_test

import (
	"strings"
	"testing"
	"time"

	"github.com/gantryrun/gantry/tests/await"
)

// detached runs a pod from a shell, as a user after a login.
func (m machine) detached(t *testing.T, args string) (uuid, unit string) {
	t.Helper()
	uuid = m.sh(t, "gantry run --net=none --detach "+args+" "+busybox+" --name=app -- sh -c 'echo hello; exec sleep 1000'")
	t.Cleanup(func() {
		m.run(t, "gantry", "rm", "--force", uuid)
		m.clean(t)
	})
	return uuid, "gantry-" + uuid + ".service"
}

// From a shell, a detached pod is a service of its own, and ends by gantry stop as by systemctl stop.
func TestDetach(t *testing.T) {
	m := boot(t)
	uuid, unit := m.detached(t, "--slice=background.slice --property=MemoryMax=100M --property=Environment=x=y")
	if s := m.show(t, unit, "ActiveState"); s != "active" {
		t.Fatalf("its unit is %s", s)
	}
	if s := m.show(t, unit, "ControlGroup"); s != "/background.slice/"+unit {
		t.Errorf("its cgroup is %s", s)
	}
	if s := m.show(t, unit, "MemoryMax"); s != "104857600" {
		t.Errorf("its MemoryMax is %s", s)
	}
	await.Until(t, "the app's line", func() bool { return m.sh(t, "gantry logs "+uuid) == "hello" })
	m.must(t, "gantry", "stop", uuid)
	await.Until(t, "the end of the unit", func() bool { return m.show(t, unit, "ActiveState") == "inactive" })
	m.must(t, "gantry", "rm", uuid)

	uuid, unit = m.detached(t, "")
	m.must(t, "systemctl", "stop", unit)
	if s := m.sh(t, "gantry status "+uuid+" | grep ^state"); s != "state=exited" {
		t.Error(s)
	}
}

// What systemd refuses, and what cannot be started, is an error, and nothing is left of it.
func TestDetachFails(t *testing.T) {
	m := boot(t)
	code, _, stderr := m.run(t, "gantry", "run", "--net=none", "--detach", "--property=Nonsense=1", busybox, "--", "true")
	if code != 254 || !strings.Contains(stderr, "Nonsense") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	m.clean(t)
	code, _, stderr = m.run(t, "gantry", "run", "--net=none", "--detach", "--uuid-file-save=/run/failed.uuid", busybox, "--", "/no/such/program")
	if code != 127 {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	m.must(t, "gantry", "rm", "--uuid-file=/run/failed.uuid")
	m.clean(t)
}

// A bus that is down costs nothing.
func TestDetachWithoutBus(t *testing.T) {
	m := boot(t)
	m.must(t, "systemctl", "stop", "dbus.socket", "dbus.service")
	t.Cleanup(func() { m.must(t, "systemctl", "start", "dbus.socket") })
	_, unit := m.detached(t, "")
	if s := m.show(t, unit, "ActiveState"); s != "active" {
		t.Errorf("its unit is %s", s)
	}
}

// A systemd that does not answer costs five seconds, and no pod.
func TestDetachWithoutSystemd(t *testing.T) {
	m := boot(t)
	thaw, err := m.Freeze()
	if err != nil {
		t.Fatal(err)
	}
	defer thaw()
	start := time.Now()
	uuid, _ := m.detached(t, "")
	if d := time.Since(start); d > await.Patience {
		t.Errorf("it took %v", d)
	}
	if s := m.sh(t, "gantry status "+uuid+" | grep ^state"); s != "state=running" {
		t.Error(s)
	}
	m.must(t, "gantry", "stop", uuid)
}

// A run that is killed before its unit took the pod leaves that to gc, which waits for nobody.
func TestDetachKilled(t *testing.T) {
	m := boot(t)
	thaw, err := m.Freeze()
	if err != nil {
		t.Fatal(err)
	}
	defer thaw()
	m.sh(t, "setsid gantry run --net=none --detach "+busybox+" -- sleep 1000 >/dev/null 2>&1 </dev/null &")
	// It waits five seconds for systemd, which may be too short for us: it is held where it is as soon as systemd was asked.
	m.sh(t, `until pods=$(ls /var/lib/gantry/pods 2>/dev/null) && gantry status $pods 2>/dev/null | grep -q ^state=prepared && pgrep systemd-run >/dev/null; do sleep 0.02; done
kill -STOP $(pgrep -f '^gantry run')`)
	uuid := m.sh(t, "ls /var/lib/gantry/pods")
	m.must(t, "gantry", "gc", "--grace-period=0s")
	if s := m.sh(t, "ls /var/lib/gantry/pods"); s != uuid {
		t.Fatalf("gc took the pod from a run that waits: %q is left of %s", s, uuid)
	}
	m.sh(t, "kill -KILL $(pgrep -f '^gantry run') $(pgrep systemd-run)")
	await.Until(t, "their death", func() bool { code, _, _ := m.run(t, "pgrep", "-f", "^gantry run"); return code != 0 })
	m.must(t, "gantry", "gc", "--grace-period=0s")
	if s := m.sh(t, "ls /var/lib/gantry/pods"); s != "" {
		t.Errorf("gc leaves %s", s)
	}
	thaw()
	m.clean(t) // of processes too, which systemd has to wait for first
}

// Who does not want to wait until a pod is ready stops it, also where systemd starts it: the apps have ended when gantry has.
func TestDetachInterrupted(t *testing.T) {
	m := boot(t)
	m.sh(t, "setsid sh -c 'gantry run --net=none --detach --pod-name=slow "+busybox+" --name=app --ready=exec:false -- sleep 1000; echo $? >/run/slow.code' >/run/slow.out 2>&1 </dev/null &")
	await.Until(t, "the pod to run", func() bool {
		_, stdout, _ := m.run(t, "gantry", "status", "slow")
		return strings.Contains(stdout, "state=running")
	})
	uuid := m.sh(t, "ls /var/lib/gantry/pods")
	m.sh(t, "kill -TERM $(pgrep -f '^gantry run')")
	await.Until(t, "gantry to end", func() bool { code, _, _ := m.run(t, "test", "-s", "/run/slow.code"); return code == 0 })
	if s := m.sh(t, "cat /run/slow.code /run/slow.out"); s != "143\ngantry: run: the pod was told to stop while it started: interrupted by SIGTERM" {
		t.Errorf("it exited with, and said: %s", s)
	}
	if s := m.sh(t, "gantry status slow"); !strings.Contains(s, "state=exited") || !strings.Contains(s, "app-app=143") {
		t.Errorf("its status: %s", s)
	}
	await.Until(t, "the end of the unit", func() bool { return m.show(t, "gantry-"+uuid+".service", "ActiveState") == "inactive" })
	m.must(t, "gantry", "rm", uuid)
	m.clean(t)
}

// Who is interrupted before the unit got to the pod has no pod, and leaves no unit to come later.
func TestDetachInterruptedEarly(t *testing.T) {
	m := boot(t)
	thaw, err := m.Freeze()
	if err != nil {
		t.Fatal(err)
	}
	defer thaw()
	m.sh(t, "setsid sh -c 'gantry run --net=none --detach "+busybox+" -- sleep 1000; echo $? >/run/early.code' >/run/early.out 2>&1 </dev/null &")
	m.sh(t, "until pgrep systemd-run >/dev/null; do sleep 0.02; done; kill -TERM $(pgrep -f '^gantry run')")
	await.Until(t, "gantry to end", func() bool { code, _, _ := m.run(t, "test", "-s", "/run/early.code"); return code == 0 })
	thaw()
	if s := m.sh(t, "cat /run/early.code /run/early.out"); s != "143\ngantry: run: interrupted by SIGTERM" {
		t.Errorf("it exited with, and said: %s", s)
	}
	m.clean(t)
}

// What a unit is told does not depend on where it was started.
func TestDetachPaths(t *testing.T) {
	m := boot(t)
	uuid := m.sh(t, "mkdir -p /run/where/conf && cd /run/where && gantry --dir=../../var/lib/gantry --local-config=conf --system-config=./none --user-config=.. run --net=none --detach "+busybox+" -- sleep 1000")
	t.Cleanup(func() {
		m.run(t, "gantry", "rm", "--force", uuid)
		m.clean(t)
	})
	line := m.show(t, "gantry-"+uuid+".service", "ExecStart")
	for _, want := range []string{"--dir=/var/lib/gantry ", "--local-config=/run/where/conf ", "--system-config=/run/where/none ", "--user-config=/run "} {
		if !strings.Contains(line, want) {
			t.Errorf("its unit has no %s: %s", want, line)
		}
	}
}

// A pod in the foreground of a shell says what its app says, and nothing of gantry's, on a host whose /sys/fs/cgroup is read-only.
func TestForeground(t *testing.T) {
	m := boot(t)
	code, stdout, stderr := m.run(t, "gantry", "run", "--rm", "--net=none", busybox, "--", "echo", "hello")
	if code != 0 || stdout != "hello\n" || stderr != "" {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	m.clean(t)
}

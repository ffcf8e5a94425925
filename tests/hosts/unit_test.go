package hosts_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gantryrun/gantry/tests/await"
)

// contract is the part of a unit that docs/systemd.md recommends, but for ExecStart.
const contract = `[Service]
Type=notify
Delegate=yes
KillMode=mixed
SuccessExitStatus=143
TimeoutStopSec=15
ExecStopPost=-/usr/bin/gantry rm --force --uuid-file=%t/gantry/%N.uuid
RuntimeDirectory=gantry
RuntimeDirectoryPreserve=yes
`

// run is the begin of an ExecStart.
const run = "ExecStart=/usr/bin/gantry run --net=none --uuid-file-save=%t/gantry/%N.uuid "

// unit installs a unit, and at the end of the test stops it and checks that nothing of it is left.
func (m machine) unit(t *testing.T, name, text string) {
	t.Helper()
	m.install(t, name, text)
	t.Cleanup(func() {
		m.must(t, "systemctl", "stop", name)
		m.run(t, "systemctl", "reset-failed", name)
		if j := m.journal(t, name); strings.Contains(j, ": undo ") {
			t.Errorf("a supervisor could not undo what it had made:\n%s", j)
		}
		m.clean(t)
	})
}

func (m machine) install(t *testing.T, name, text string) {
	t.Helper()
	file := m.Path("/run/systemd/system/" + name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	m.must(t, "systemctl", "daemon-reload")
}

// remains lists all that a pod may leave, which is what gantry keeps outside its store. The table knows which networks had pods until gc takes it away.
const remains = `
find /sys/fs/cgroup -name 'gantry-*' 2>/dev/null || : # what goes while find looks is no error
find /run/gantry/pods /run/gantry/leases -mindepth 1 -type f 2>/dev/null | grep -v -e last_reserved -e '/lock$' || :
ls -A /var/lib/gantry/pods
ip -o link | grep -v ': lo:' || :
nft list ruleset | sed '/set networks {/,/^\t}/d' | grep -e 172.16 -e 'elements' || :
pgrep -l gantry || :
grep /var/lib/gantry/pods /proc/1/mountinfo || :
`

// clean checks that the host has no pod, and nothing of one.
func (m machine) clean(t *testing.T) {
	t.Helper()
	await.Success(t, "nothing to be left behind", func() error {
		if left := m.sh(t, remains); left != "" {
			return errors.New(left)
		}
		return nil
	})
}

// traces are what has a pod's UUID in its name.
func (m machine) traces(t *testing.T, uuid string) string {
	t.Helper()
	return m.sh(t, "find /sys/fs/cgroup /var/lib/gantry/pods -name '*"+uuid+"*' 2>/dev/null || :") // what goes while find looks is no error
}

// show is a property of a unit.
func (m machine) show(t *testing.T, unit, property string) string {
	t.Helper()
	return strings.TrimSpace(m.must(t, "systemctl", "show", "--value", "--property="+property, unit))
}

// journal is what journald has of a unit, all that it was sent before included.
func (m machine) journal(t *testing.T, unit string) string {
	t.Helper()
	m.must(t, "journalctl", "--sync")
	return m.must(t, "journalctl", "--no-pager", "--output=cat", "--unit="+unit)
}

// start starts the unit and wants that to succeed.
func (m machine) start(t *testing.T, unit string) {
	t.Helper()
	if code, _, _ := m.run(t, "systemctl", "start", unit); code != 0 {
		t.Fatalf("%s did not start:\n%s", unit, m.journal(t, unit))
	}
}

func (m machine) mainPID(t *testing.T, unit string) int {
	t.Helper()
	pid, err := strconv.Atoi(m.show(t, unit, "MainPID"))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func (m machine) uuid(t *testing.T, unit string) string {
	t.Helper()
	return m.sh(t, "cat /run/gantry/"+strings.TrimSuffix(unit, ".service")+".uuid")
}

// A unit is up when its pod is ready; its main process is the supervisor, and all of the pod is in its cgroup.
func TestNotify(t *testing.T) {
	m := boot(t)
	m.unit(t, "notify.service", contract+run+busybox+" --name=one -- sleep 1000 --- "+busybox+" --name=two --after=one -- sleep 1000\n")
	m.start(t, "notify.service")
	pid := m.mainPID(t, "notify.service")
	if comm := m.sh(t, fmt.Sprintf("cat /proc/%d/comm", pid)); comm != "gantry-stage1" {
		t.Errorf("main process is %s", comm)
	}
	uuid := m.uuid(t, "notify.service")
	m.must(t, "gantry", "status", "--wait-ready=1ms", uuid)
	await.Until(t, "systemctl status to show both apps", func() bool { // a command line is there a moment after the exec that makes the app ready
		return strings.Count(m.must(t, "systemctl", "status", "--no-pager", "notify.service"), "sleep 1000") == 2
	})
	for _, hierarchy := range []string{"memory", "pids", "devices", "systemd"} {
		procs := m.sh(t, "cat /sys/fs/cgroup/"+hierarchy+"/system.slice/notify.service/gantry-"+uuid+"/*/cgroup.procs")
		if len(strings.Fields(procs)) != 2 {
			t.Errorf("apps in the unit's cgroup of %s: %q", hierarchy, procs)
		}
	}
}

// A pod that cannot be made ready is a unit that did not start.
func TestNotReady(t *testing.T) {
	m := boot(t)
	m.unit(t, "unready.service", contract+run+busybox+" -- /no/such/program\n")
	if code, _, _ := m.run(t, "systemctl", "start", "unready.service"); code == 0 {
		t.Error("it started")
	}
	if s := m.show(t, "unready.service", "ExecMainStatus"); s != "127" {
		t.Errorf("exit status %s, want 127", s)
	}
}

// The unit's MemoryMax holds for the pod, and the pod's record says what happened.
func TestMemoryMax(t *testing.T) {
	m := boot(t)
	m.unit(t, "memory.service", strings.Replace(contract, "ExecStopPost", "#", 1)+"MemoryMax=48M\n"+
		run+busybox+" --name=hungry -- sh -c 'sleep 0.5; tail /dev/zero'\n")
	m.start(t, "memory.service")
	await.Until(t, "the end of the unit", func() bool { return m.show(t, "memory.service", "ActiveState") == "failed" })
	uuid := m.uuid(t, "memory.service")
	inspect := m.must(t, "gantry", "inspect", uuid)
	if !strings.Contains(inspect, `"oomKilled": true`) {
		t.Errorf("the record does not know of the kill:\n%s", inspect)
	}
	if s := m.show(t, "memory.service", "ExecMainStatus"); s != "137" {
		t.Errorf("exit status %s, want 137", s)
	}
	m.must(t, "gantry", "rm", uuid)
}

// CPUQuota= of the unit holds for the pod's apps: each is throttled with it.
func TestCPUQuota(t *testing.T) {
	m := boot(t)
	m.unit(t, "quota.service", contract+run+busybox+" --name=busy -- sh -c 'while [ ! -e /go ]; do sleep 0.05; done; while :; do :; done'\n")
	m.start(t, "quota.service")
	m.must(t, "systemctl", "set-property", "--runtime", "quota.service", "CPUQuota=4%")
	unit := "/sys/fs/cgroup/cpu/system.slice/quota.service"
	if s := m.sh(t, "cat "+unit+"/cpu.cfs_quota_us"); s != "4000" {
		t.Errorf("the unit's quota is %s", s)
	}
	throttled := func() int {
		n, err := strconv.Atoi(m.sh(t, "sed -n 's/^nr_throttled //p' "+unit+"/cpu.stat"))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := throttled()
	m.must(t, "gantry", "enter", m.uuid(t, "quota.service"), "touch", "/go")
	await.Until(t, "the app being throttled with its unit", func() bool { return throttled() > before+3 })
	m.must(t, "systemctl", "set-property", "--runtime", "quota.service", "CPUQuota=")
}

// Whoever dies, the unit starts a new pod, and nothing of the old one stays.
func TestRestart(t *testing.T) {
	m := boot(t)
	m.unit(t, "restart.service", "[Unit]\nStartLimitIntervalSec=0\n"+contract+"Restart=always\nRestartSec=50ms\n"+
		run+busybox+" --name=a -- sleep 1000 --- "+busybox+" --name=b -- sleep 1000\n")
	m.start(t, "restart.service")
	for name, kill := range map[string]string{
		"supervisor": "kill -KILL %d",
		"app":        "gantry kill --app=b $(cat /run/gantry/restart.uuid) # %d",
		"reaper":     "kill -KILL $(pgrep -P %d gantry-init)",
	} {
		pid, uuid := m.mainPID(t, "restart.service"), m.uuid(t, "restart.service")
		m.sh(t, fmt.Sprintf(kill, pid))
		await.Until(t, "a new pod after the death of the "+name, func() bool {
			return m.mainPID(t, "restart.service") != pid && m.show(t, "restart.service", "SubState") == "running"
		})
		if now := m.uuid(t, "restart.service"); now == uuid {
			t.Errorf("after the death of the %s: the same pod", name)
		}
		if left := m.traces(t, uuid); left != "" {
			t.Errorf("after the death of the %s, left behind: %s", name, left)
		}
	}
}

// The app's exit code is the unit's: RestartPreventExitStatus= reads it.
func TestRestartPrevent(t *testing.T) {
	m := boot(t)
	m.unit(t, "prevent.service", "[Unit]\nStartLimitIntervalSec=0\n"+contract+"Restart=always\nRestartSec=50ms\nRestartPreventExitStatus=3\n"+
		strings.Replace(run, "run ", "run --volume=stop,kind=host,source=/mnt ", 1)+busybox+" --name=app --mount=volume=stop,target=/stop -- sh -c 'sleep 0.3; [ -e /stop/now ] && exit 3; exit 5'\n")
	m.start(t, "prevent.service")
	await.Until(t, "two restarts after 5", func() bool { n, _ := strconv.Atoi(m.show(t, "prevent.service", "NRestarts")); return n >= 2 })
	m.write(t, "/mnt/now", "")
	t.Cleanup(func() { m.must(t, "rm", "/mnt/now") })
	await.Until(t, "the end after 3", func() bool { return m.show(t, "prevent.service", "ActiveState") == "failed" })
	if s := m.show(t, "prevent.service", "ExecMainStatus"); s != "3" {
		t.Errorf("exit status %s, want 3", s)
	}
}

// A stop goes through the supervisor, which stops the apps in the reverse of their order. (They write it down themselves: lines of several
// apps that come out of the pod may overtake each other.)
func TestStopOrder(t *testing.T) {
	m := boot(t)
	app := func(name, after string) string {
		return busybox + " --name=" + name + after + " --mount=volume=said,target=/said -- sh -c 'trap \"echo stop-" + name + " >>/said/order; sleep 0.2; echo end-" + name +
			" >>/said/order; exit 0\" TERM; touch /said/" + name + "; while :; do sleep 0.05; done' --- "
	}
	m.sh(t, "mkdir -p /run/said")
	t.Cleanup(func() { m.sh(t, "rm -r /run/said") })
	m.unit(t, "order.service", contract+strings.Replace(run, "run ", "run --volume=said,kind=host,source=/run/said ", 1)+app("db", "")+app("web", " --after=db")+"\n")
	m.start(t, "order.service")
	await.Until(t, "the traps", func() bool { return m.sh(t, "ls /run/said") == "db\nweb" })
	m.must(t, "systemctl", "stop", "order.service")
	if got := m.sh(t, "cat /run/said/order"); got != "stop-web\nend-web\nstop-db\nend-db" {
		t.Errorf("order of the stop: %q", got)
	}
	if r := m.show(t, "order.service", "Result"); r != "success" {
		t.Errorf("result %s", r)
	}
}

// TimeoutStopSec is the last word, over any --stop-timeout.
func TestStopTimeout(t *testing.T) {
	m := boot(t)
	m.unit(t, "stubborn.service", contract+"TimeoutStopSec=1\n"+run+busybox+" --stop-timeout=1h -- sh -c 'trap : TERM; while :; do sleep 0.05; done'\n")
	m.start(t, "stubborn.service")
	start := time.Now()
	m.must(t, "systemctl", "stop", "stubborn.service")
	if d := time.Since(start); d > await.Patience { // and not an hour
		t.Errorf("the stop took %v", d)
	}
}

// 24 KB of JSON in lines of Environment= arrive whole, as BlaBlaCar's units hand them on.
func TestEnvironment(t *testing.T) {
	m := boot(t)
	var lines, glued strings.Builder
	whole := strings.Repeat(`{"key": "value with blanks, \"quotes\" and 100%"},`, 24<<10/50)
	for i := 0; i*1900 < len(whole); i++ {
		chunk := whole[i*1900 : min(len(whole), (i+1)*1900)]
		chunk = strings.NewReplacer(`\`, `\\`, `"`, `\"`, `%`, `%%`).Replace(chunk)
		fmt.Fprintf(&lines, "Environment=\"ATTR_%d=%s\"\n", i, chunk)
		fmt.Fprintf(&glued, "${ATTR_%d}", i)
	}
	m.unit(t, "environment.service", contract+lines.String()+
		"ExecStart=/usr/bin/gantry run --net=none --uuid-file-save=%t/gantry/%N.uuid --set-env=TEMPLATER_OVERRIDE="+glued.String()+" "+
		busybox+" -- sh -c 'printf %%s \"$$TEMPLATER_OVERRIDE\" | sha256sum; sleep 1000'\n")
	m.start(t, "environment.service")
	file := filepath.Join(m.Share, "whole")
	if err := os.WriteFile(file, []byte(whole), 0o644); err != nil {
		t.Fatal(err)
	}
	want := m.sh(t, "sha256sum </mnt/whole")
	await.Until(t, "the app's sum", func() bool { return strings.Contains(m.journal(t, "environment.service"), want) })
}

// One template serves many pods.
func TestTemplate(t *testing.T) {
	m := boot(t)
	m.install(t, "web@.service", contract+"ExecStart=/usr/bin/gantry run --net=none --uuid-file-save=%t/gantry/%N.uuid --pod-name=web-%i --hostname=%i "+
		busybox+" -- sh -c 'hostname; sleep 1000'\n")
	t.Cleanup(func() { m.clean(t) })
	m.must(t, "systemctl", "start", "web@one.service", "web@two.service")
	for _, i := range []string{"one", "two"} {
		m.must(t, "gantry", "status", "web-"+i)
		await.Until(t, "the host name", func() bool { return strings.Contains(m.journal(t, "web@"+i+".service"), i+"\n") })
	}
	m.must(t, "systemctl", "stop", "web@*.service")
}

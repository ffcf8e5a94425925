package hosts_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/gantryrun/gantry/tests/await"
)

// A pod with a fixed address and a published port gets both back at once, however its unit ended.
func TestSameAddress(t *testing.T) {
	const sweep = "ExecStopPost=-/usr/bin/gantry rm --force --uuid-file=%t/gantry/%N.uuid\n"
	if !strings.Contains(contract, sweep) {
		t.Fatal("the contract has no ExecStopPost= that removes the pod")
	}
	t.Run("removed by the unit", func(t *testing.T) { sameAddress(t, contract) })
	// Nobody but the next pod takes care of the dead one.
	t.Run("left where it died", func(t *testing.T) { sameAddress(t, strings.Replace(contract, sweep, "", 1)) })
}

func sameAddress(t *testing.T, contract string) {
	m := boot(t)
	m.unit(t, "address.service", "[Unit]\nStartLimitIntervalSec=0\n"+contract+"Restart=always\nRestartSec=1ms\n"+
		"ExecStart=/usr/bin/gantry run --net=default:IP=172.16.28.77 --port=8080:80 --uuid-file-save=%t/gantry/%N.uuid "+
		busybox+" --name=web -- httpd -f -p 80 -h /etc\n")
	m.start(t, "address.service")
	for round := range 3 {
		pid := m.mainPID(t, "address.service")
		status := m.must(t, "gantry", "status", m.uuid(t, "address.service"))
		if !strings.Contains(status, "ip4=172.16.28.77") {
			t.Errorf("round %d: %s", round, status)
		}
		await.Until(t, "an answer", func() bool {
			code, out, _ := m.run(t, "busybox", "wget", "-q", "-O-", "http://172.16.28.77/passwd")
			return code == 0 && strings.Contains(out, "root:")
		})
		m.sh(t, fmt.Sprintf("kill -KILL %d", pid))
		await.Until(t, "the next pod", func() bool {
			return m.mainPID(t, "address.service") != pid && m.show(t, "address.service", "SubState") == "running"
		})
		if n := m.show(t, "address.service", "NRestarts"); n != fmt.Sprint(round+1) {
			t.Errorf("round %d: %s restarts: the address was not free at once\n%s", round, n, m.journal(t, "address.service"))
		}
	}
	m.must(t, "systemctl", "stop", "address.service")
	m.must(t, "gantry", "gc", "--grace-period=0s")
}

// After a power cut a host's pods come back by themselves, and gc removes what was left of the old ones.
func TestReboot(t *testing.T) {
	m := ownHost(t)
	m.put(t, "packaging/systemd/gantry-generator", "/usr/lib/systemd/system-generators/gantry-generator")
	m.put(t, "packaging/tmpfiles.d/gantry.conf", "/usr/lib/tmpfiles.d/gantry.conf")
	m.write(t, "/etc/gantry/pods.d/web.pod", "[Pod]\nPodName=web\nNet=default:IP=172.16.28.5\n[App web]\nImage="+busybox+"\nArgs=sleep 1000\n[Install]\nWantedBy=multi-user.target\n")
	m.sh(t, "systemctl daemon-reload; systemctl start web.service; sync")
	before := m.uuid(t, "web.service")
	if err := m.Reboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	await.Until(t, "the pod", func() bool { return m.show(t, "web.service", "ActiveState") == "active" })
	after := m.uuid(t, "web.service")
	status := m.must(t, "gantry", "status", "web")
	if after == before || !strings.Contains(status, "state=running") || !strings.Contains(status, "ip4=172.16.28.5") {
		t.Errorf("was %s, is %s:\n%s", before, after, status)
	}
	if s := m.sh(t, "gantry status "+before+" | grep ^state"); s != "state=exited" {
		t.Errorf("the pod of before: %s", s)
	}
	m.must(t, "gantry", "gc", "--grace-period=0s")
	if s := m.sh(t, "ls /var/lib/gantry/pods"); s != after {
		t.Errorf("after gc: %s, want %s alone", s, after)
	}
}

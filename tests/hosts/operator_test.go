package hosts_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/gantryrun/gantry/tests/await"
)

// A unit of BlaBlaCar's, as their tools wrote it for rkt: no Type=, no Delegate=, no KillMode=, the binary called rkt.
const fleetUnit = `[Unit]
Description=pod-web web1
After=network.target

[Service]
Environment='ATTR_0={"a":"b c"}'
Environment='ATTR_BASE64_0=base64,eyJ4Ijog' 'ATTR_BASE64_1=InkifQ=='
ExecStartPre=/opt/bin/rkt gc --grace-period=0s --expire-prepared=0s
ExecStartPre=-/opt/bin/rkt image gc
ExecStart=/opt/bin/rkt --insecure-options=all run --set-env=TEMPLATER_OVERRIDE='${ATTR_0}' \
  --set-env=TEMPLATER_OVERRIDE_BASE64='${ATTR_BASE64_0}${ATTR_BASE64_1}' --set-env=HOSTNAME='web1' --set-env=HOST="%H" --hostname=web1 \
  --dns=10.0.0.1 --dns=10.0.0.2 --dns-search=prod.example --uuid-file-save=/mnt/sda9/rkt-uuid/prod/web1 --set-env=DOMAINNAME='prod.example' \
  --net='bond0:IP=10.2.3.4' --volume=data,kind=host,source=/mnt/sda9/web1/data \
  IMAGE --name=side --exec /bin/sleep -- 1000 --- IMAGE --name=web --mount volume=data,target=/data --exec /bin/sh -- \
  -c "(env; hostname; ip addr show eth0; cat /etc/resolv.conf; echo written >/data/file; echo all said) | sed 's/^/said: /'; exec sleep 1000" ---

[Install]
WantedBy=multi-user.target

[X-Fleet]
MachineMetadata=name=web1
`

// Such a unit runs as it is, again and again, at its address; its own gc takes what was there before.
func TestUnitOfAnotherFleet(t *testing.T) {
	m := boot(t)
	m.sh(t, `mkdir -p /opt/bin /etc/gantry/net.d /mnt/sda9/rkt-uuid/prod /mnt/sda9/web1/data; ln -sf /usr/bin/gantry /opt/bin/rkt
ip link add bond0 type veth peer name bond0-peer; ip link set bond0 up; ip link set bond0-peer up`)
	m.write(t, "/etc/gantry/net.d/bond0.conf",
		`{"cniVersion":"1.0.0","name":"bond0","type":"macvlan","master":"bond0","ipam":{"type":"host-local","subnet":"10.2.0.0/16","dataDir":"/run/gantry/leases"}}`)
	const unit = "prod_web_web1.service"
	m.install(t, unit, strings.ReplaceAll(fleetUnit, "IMAGE", busybox))
	t.Cleanup(func() {
		m.must(t, "systemctl", "stop", unit)
		m.run(t, "systemctl", "reset-failed", unit)
		m.sh(t, "gantry gc --grace-period=0s; ip link delete bond0; rm -r /etc/gantry/net.d /opt/bin/rkt /mnt/sda9")
		m.clean(t)
	})
	var uuid string
	for round := range 3 {
		before := uuid
		m.must(t, "systemctl", "start", unit) // which waits for nothing but the program's start
		await.Until(t, "the pod", func() bool {
			uuid = m.sh(t, "cat /mnt/sda9/rkt-uuid/prod/web1 || :")
			code, _, _ := m.run(t, "gantry", "status", uuid)
			return code == 0 && uuid != before
		})
		m.must(t, "gantry", "status", "--wait-ready=60s", uuid)
		var said string
		await.Until(t, "what the app says", func() bool {
			said = m.sh(t, "gantry logs --app=web "+uuid)
			return strings.Contains(said, "said: all said")
		})
		for _, want := range []string{
			`TEMPLATER_OVERRIDE={"a":"b c"}`, "TEMPLATER_OVERRIDE_BASE64=base64,eyJ4IjogInkifQ==", "HOSTNAME=web1", "DOMAINNAME=prod.example", "said: web1",
			"inet 10.2.3.4/16", "nameserver 10.0.0.2", "search prod.example",
		} {
			if !strings.Contains(said, want) {
				t.Errorf("round %d: the app did not say %s:\n%s", round, want, said)
			}
		}
		if pods := m.sh(t, "ls /var/lib/gantry/pods"); pods != uuid {
			t.Errorf("round %d: pods %s, want %s alone", round, pods, uuid)
		}
		if round == 1 {
			m.sh(t, fmt.Sprintf("kill -KILL %d", m.mainPID(t, unit)))
			await.Until(t, "the unit's end", func() bool { return m.show(t, unit, "ActiveState") == "failed" })
		} else {
			m.must(t, "systemctl", "stop", unit)
		}
	}
}

// Restarts in quick succession, kills of everything in the unit, and systemd reading its units all the while: the pod is there in the end, once.
func TestOperatorInAHurry(t *testing.T) {
	m := boot(t)
	m.unit(t, "hurry.service", "[Unit]\nStartLimitIntervalSec=0\n"+contract+"Restart=always\nRestartSec=20ms\n"+
		"ExecStart=/usr/bin/gantry run --net=default:IP=172.16.28.78 --port=8097:80 --uuid-file-save=%t/gantry/%N.uuid "+busybox+" -- httpd -f -p 80 -h /etc\n")
	m.start(t, "hurry.service")
	for _, line := range []string{
		"for i in $(seq 5); do systemctl daemon-reload & done; for i in $(seq 5); do systemctl restart hurry.service; done; wait",
		"for i in $(seq 10); do systemctl restart --no-block hurry.service; done",
		"for i in $(seq 5); do systemctl daemon-reload & systemctl kill --signal=KILL hurry.service || :; sleep 0.1; done; wait",
		"systemctl daemon-reexec",
	} {
		m.sh(t, line)
	}
	m.must(t, "systemctl", "restart", "hurry.service")
	m.must(t, "gantry", "gc", "--grace-period=0s") // a kill of all in the unit is also one of its ExecStopPost=
	uuid := m.uuid(t, "hurry.service")
	if pods := m.sh(t, "ls /var/lib/gantry/pods"); pods != uuid {
		t.Errorf("pods %s, want %s alone", pods, uuid)
	}
	if status := m.must(t, "gantry", "status", uuid); !strings.Contains(status, "state=running") || !strings.Contains(status, "ip4=172.16.28.78") {
		t.Errorf("in the end: %s", status)
	}
	await.Until(t, "an answer", func() bool {
		code, out, _ := m.run(t, "busybox", "wget", "-q", "-O-", "http://172.16.28.78/passwd")
		return code == 0 && strings.Contains(out, "root:")
	})
}

// journald may be restarted, killed and rid of what it has; a unit may have a journal of its own. No pod ends or falls silent.
func TestJournaldComesAndGoes(t *testing.T) {
	m := boot(t)
	const talk = " -- sh -c 'i=0; while :; do i=$$((i+1)); echo line $$i; sleep 0.2; done'\n"
	m.install(t, "talking.service", contract+run+busybox+" --name=talking"+talk)
	m.install(t, "uncopied.service", contract+run+busybox+" --name=uncopied --stdout=journal"+talk)
	m.install(t, "apart.service", contract+"LogNamespace=apart\n"+run+busybox+" --name=apart"+talk)
	t.Cleanup(func() {
		m.must(t, "systemctl", "stop", "talking.service", "uncopied.service", "apart.service", "systemd-journald@apart.service", "systemd-journald@apart.socket")
		m.clean(t)
	})
	lines := map[string]string{
		"talking": "journalctl --quiet --output=cat GANTRY_APP=talking", "uncopied": "journalctl --quiet --output=cat SYSLOG_IDENTIFIER=uncopied",
		"apart": "journalctl --quiet --namespace=apart --output=cat GANTRY_APP=apart",
	}
	for app := range lines {
		m.start(t, app+".service")
	}
	for _, do := range []string{"systemctl restart systemd-journald", "systemctl kill --signal=KILL systemd-journald", "journalctl --rotate --vacuum-time=1s --quiet"} {
		m.sh(t, do)
		for app, line := range lines {
			last := func() string { return m.sh(t, line+" --lines=1") }
			var before string
			await.Until(t, "a line of "+app, func() bool { before = last(); return before != "" })
			await.Until(t, "another line of "+app+" after: "+do, func() bool { s := last(); return s != "" && s != before })
		}
	}
	if s := m.sh(t, "journalctl --quiet --output=cat GANTRY_APP=apart"); s != "" {
		t.Errorf("lines of the unit with a journal of its own are in the host's:\n%s", s)
	}
}

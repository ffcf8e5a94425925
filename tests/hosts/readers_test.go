package hosts_test

import (
	"path/filepath"
	"strings"
	"testing"
)

// Members of the group gantry read what runs, without root, by way of the packaged sockets; nobody else does, and they get at nothing more.
func TestReaders(t *testing.T) {
	m := boot(t)
	m.put(t, "packaging/sysusers.d/gantry.conf", "/usr/lib/sysusers.d/gantry.conf")
	m.must(t, "systemd-sysusers", "gantry.conf")
	m.put(t, "packaging/tmpfiles.d/gantry.conf", "/usr/lib/tmpfiles.d/gantry.conf")
	m.must(t, "systemd-tmpfiles", "--create", "gantry.conf") // a /run/gantry that gantry itself made is root's alone
	for _, u := range []string{"gantry-list.socket", "gantry-list@.service", "gantry-metrics.socket", "gantry-metrics@.service"} {
		m.put(t, "packaging/systemd/"+u, "/run/systemd/system/"+u)
	}
	m.sh(t, "systemctl daemon-reload; systemctl start gantry-list.socket gantry-metrics.socket")
	buildTool(t, filepath.Join(m.Share, "tool"))
	uuid := m.sh(t, "gantry run --net=none --detach --set-env=SECRET=sesame "+busybox+" --name=web -- sh -c 'echo sesame; sleep 1000'")
	t.Cleanup(func() {
		m.must(t, "systemctl", "stop", "gantry-list.socket", "gantry-metrics.socket")
		m.must(t, "gantry", "rm", "--force", uuid)
		m.clean(t)
	})

	member := "setpriv --reuid=65534 --regid=65534 --groups=$(getent group gantry | cut -d: -f3) "
	if got, want := m.sh(t, member+"/mnt/tool ask /run/gantry/list.sock"), m.sh(t, "gantry list --format=json"); got != want || !strings.Contains(got, uuid) {
		t.Errorf("list: %s\nwant %s", got, want)
	}
	metrics := m.sh(t, member+"/mnt/tool ask /run/gantry/metrics.sock")
	for _, want := range []string{`gantry_app_running{pod="` + uuid + `",app="web"} 1`, "memory", "# EOF"} {
		if !strings.Contains(metrics, want) {
			t.Errorf("metrics have no %s:\n%s", want, metrics)
		}
	}
	if all := m.sh(t, member+"/mnt/tool ask /run/gantry/list.sock") + metrics; strings.Contains(all, "sesame") {
		t.Errorf("members learn the app's environment or arguments:\n%s", all)
	}
	for _, line := range []string{
		"setpriv --reuid=65534 --regid=65534 --clear-groups /mnt/tool ask /run/gantry/list.sock",
		member + "ls /var/lib/gantry/pods",
		member + "ls /run/gantry/pods",
	} {
		if code, out, stderr := m.run(t, "sh", "-c", line); code == 0 || !strings.Contains(stderr, "Permission denied") {
			t.Errorf("%s: exit code %d: %s%s", line, code, out, stderr)
		}
	}
}

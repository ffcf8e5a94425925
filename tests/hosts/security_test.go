package hosts_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/gantryrun/gantry/tests/await"
	"github.com/gantryrun/gantry/tests/build"
)

// exposure is systemd's measure of a unit: 0 is confined, 10 may do everything.
func (m machine) exposure(t *testing.T, unit string) float64 {
	t.Helper()
	out := m.must(t, "systemd-analyze", "security", "--no-pager", unit)
	found := regexp.MustCompile(`Overall exposure level for \S+: ([0-9.]+)`).FindStringSubmatch(out)
	if found == nil {
		t.Fatalf("systemd-analyze security %s says:\n%s", unit, out)
	}
	n, err := strconv.ParseFloat(found[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// documented are the exposures that docs/systemd.md claims, and the lines that it says may be added to a pod's unit.
func documented(t *testing.T) (exposures map[string]float64, lines string) {
	t.Helper()
	root, err := build.Root()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(root, "docs/systemd.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(data), "\n## Hardening\n")
	section, _, _ = strings.Cut(section, "\n## ")
	exposures = map[string]float64{}
	for _, row := range regexp.MustCompile("(?m)^\\| `?([a-z -]+)`? \\| ([0-9.]+) \\|").FindAllStringSubmatch(section, -1) {
		exposures[row[1]], _ = strconv.ParseFloat(row[2], 64)
	}
	for line := range strings.Lines(section) {
		if code, ok := strings.CutPrefix(line, "    "); ok {
			lines += code
		}
	}
	return exposures, lines
}

// The lines that the documentation offers break no pod, and the measures are what it says.
func TestHardening(t *testing.T) {
	m := boot(t)
	want, lines := documented(t)
	if lines == "" || len(want) != 6 {
		t.Fatalf("docs/systemd.md has no section Hardening as this test reads it: %v, %q", want, lines)
	}
	line := []string{"gantry", "systemd", "unit", "--net=default", "--port=8099:80", busybox, "--name=web", "--", "httpd", "-f", "-p", "80", "-h", "/etc"}
	plain := m.must(t, line...)
	m.unit(t, "plain.service", plain)
	m.unit(t, "hardened.service", strings.Replace(plain, "[Service]\n", "[Service]\n"+lines+"SetCredential=token:sesame\nWatchdogSec=10\n", 1))
	m.must(t, "systemd-analyze", "verify", "--man=no", "/run/systemd/system/hardened.service")
	m.start(t, "hardened.service")
	uuid := m.uuid(t, "hardened.service")
	address := m.sh(t, "gantry status "+uuid+" | sed -n 's/.*ip4=\\([0-9.]*\\).*/\\1/p'")
	await.Until(t, "an answer", func() bool {
		code, out, _ := m.run(t, "busybox", "wget", "-q", "-O-", "http://"+address+"/passwd")
		return code == 0 && strings.Contains(out, "root:")
	})
	if s := m.sh(t, "gantry enter "+uuid+" sh -c 'cat $CREDENTIALS_DIRECTORY/token; mkdir /x; chown 5 /x; id -u'"); s != "sesame0" {
		t.Errorf("inside: %q", s)
	}
	for _, u := range []string{"gantry-gc.service", "gantry-image-gc.service", "gantry-list@.service", "gantry-metrics@.service"} {
		m.put(t, "packaging/systemd/"+u, "/run/systemd/system/"+u)
	}
	m.must(t, "systemctl", "daemon-reload")
	for name, unit := range map[string]string{
		"a printed unit": "plain.service", "a printed unit with these lines": "hardened.service", "gantry-gc": "gantry-gc.service", "gantry-image-gc": "gantry-image-gc.service",
		"gantry-list": "gantry-list@x.service", "gantry-metrics": "gantry-metrics@x.service",
	} {
		if got := m.exposure(t, unit); got != want[name] {
			t.Errorf("%s: exposure %v, docs/systemd.md says %v", name, got, want[name])
		}
	}
}

// gc can do its work with what its unit leaves it: a pod with a network and a port, whose supervisor was killed.
func TestHardenedGC(t *testing.T) {
	m := boot(t)
	for _, u := range []string{"gantry-gc.service", "gantry-image-gc.service"} {
		m.put(t, "packaging/systemd/"+u, "/run/systemd/system/"+u)
	}
	m.write(t, "/run/systemd/system/gantry-gc.service.d/now.conf", "[Service]\nExecStart=\nExecStart=/usr/bin/gantry gc --grace-period=0s --expire-prepared=0s\n")
	t.Cleanup(func() { m.must(t, "rm", "-r", "/run/systemd/system/gantry-gc.service.d") })
	m.must(t, "systemctl", "daemon-reload")
	uuid := m.sh(t, "gantry run --detach --net=default --port=8098:80 --private-users "+busybox+" --name=web -- sh -c 'mkdir /x; chown 5:6 /x; chmod 0 /x; exec sleep 1000'")
	m.sh(t, fmt.Sprintf("kill -KILL $(gantry status %s | sed -n 's/^pid=//p')", uuid))
	m.sh(t, "gantry prepare --net=none "+busybox)
	for _, u := range []string{"gantry-gc.service", "gantry-image-gc.service"} {
		m.start(t, u)
	}
	m.clean(t)
	if j := m.journal(t, "gantry-gc.service"); strings.Contains(j, "gantry: ") {
		t.Errorf("it says:\n%s", j)
	}
}

package hosts_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gantryrun/gantry/tests/build"
)

// The example of a fleet gives files that its one unit takes, the same each time, and attributes that arrive. That pods of it
// run is what tests/fleet shows.
func TestFleetExample(t *testing.T) {
	m := boot(t)
	root, err := build.Root()
	if err != nil {
		t.Fatal(err)
	}
	fleet := filepath.Join(root, "examples/fleet")
	for _, out := range []string{"fleet", "again"} {
		if said, err := exec.Command(filepath.Join(fleet, "generate"), fleet, filepath.Join(m.Share, out)).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, said)
		}
	}
	m.sh(t, "diff -r /mnt/fleet /mnt/again")
	if s := m.sh(t, "cd /mnt/fleet; echo */*"); s != "rack1-a/stock1.env rack1-a/web1.env rack2-a/web2.env" {
		t.Errorf("generate wrote %s", s)
	}
	m.put(t, "examples/fleet/pod@.service", "/run/systemd/system/pod@.service")
	t.Cleanup(func() { m.sh(t, "rm -r /run/systemd/system/pod@.service /etc/gantry/fleet; systemctl daemon-reload") })
	m.sh(t, "mkdir -p /etc/gantry/fleet; cp /mnt/fleet/*/*.env /etc/gantry/fleet; systemctl daemon-reload; systemd-analyze verify --man=no /run/systemd/system/pod@.service")

	// The unit's own variables, put together as it puts them, in place of a pod that would need a registry.
	m.sh(t, `n=$(grep -c '^ATTR_' /etc/gantry/fleet/web1.env); [ "$n" = "$(grep -o '\${ATTR_' /run/systemd/system/pod@.service | wc -l)" ]`)
	got := m.sh(t, `sed -n 's/^ATTR_[0-9]*=//p' /etc/gantry/fleet/web1.env | tr -d '\n' | base64 -d`)
	want, err := os.ReadFile(filepath.Join(fleet, "attributes/web.json"))
	if err != nil {
		t.Fatal(err)
	}
	if got != strings.TrimSpace(string(want)) {
		t.Errorf("attributes are %q", got)
	}
}

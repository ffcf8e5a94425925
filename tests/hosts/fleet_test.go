package hosts_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gantryrun/gantry/tests/build"
)

// The example of a fleet gives pod files that are good units, and attributes that arrive.
func TestFleetExample(t *testing.T) {
	m := boot(t)
	root, err := build.Root()
	if err != nil {
		t.Fatal(err)
	}
	fleet := filepath.Join(root, "examples/fleet")
	out := filepath.Join(m.Share, "fleet")
	if said, err := exec.Command(filepath.Join(fleet, "generate"), filepath.Join(fleet, "fleet.tsv"), filepath.Join(fleet, "attributes"), out).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	m.sh(t, `for host in web1 web2 db1; do
  mkdir -p /run/fleet/$host; gantry systemd generator --pods=/mnt/fleet/$host/pods.d /run/fleet/$host
  systemd-analyze verify --man=no /run/fleet/$host/*.service
done`)

	// The same file, with what a test host has in place of registry, network and data.
	file, err := os.ReadFile(filepath.Join(out, "web1/pods.d/shop.pod"))
	if err != nil {
		t.Fatal(err)
	}
	_, env, _ := strings.Cut(string(file), "SetEnv=")
	env, _, _ = strings.Cut(env, "\n")
	_, service, _ := strings.Cut(string(file), "[Service]")
	m.write(t, "/run/trial/shop.pod", "[Pod]\nNet=none\nSetEnv="+env+"\n[App shop]\nImage="+busybox+
		"\nArgs=sh -c 'echo \"$$TEMPLATER_OVERRIDE_BASE64\" | base64 -d; exec sleep 1000'\n[Service]"+service)
	text := m.sh(t, "mkdir -p /run/trial/out; gantry systemd generator --pods=/run/trial /run/trial/out; cat /run/trial/out/shop.service")
	m.unit(t, "shop.service", text+"\n")
	m.start(t, "shop.service")
	want, err := os.ReadFile(filepath.Join(fleet, "attributes/shop.json"))
	if err != nil {
		t.Fatal(err)
	}
	await(t, "the attributes", func() bool { return strings.Contains(m.journal(t, "shop.service"), string(want)) })
	if s := m.show(t, "shop.service", "MemoryMax"); s != "1073741824" {
		t.Errorf("MemoryMax is %s", s)
	}
}

package hosts_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gantryrun/gantry/tests/await"
)

// A package that replaces gantry's programs changes nothing for a pod that runs: its supervisor starts apps with the programs of its own
// version, whose language it speaks.
func TestProgramsReplaced(t *testing.T) {
	m := boot(t)
	m.unit(t, "replaced.service", contract+run+busybox+" --name=web --restart=always -- sleep 1000\n")
	m.start(t, "replaced.service")
	uuid, pid := m.uuid(t, "replaced.service"), m.mainPID(t, "replaced.service")
	for _, program := range []string{"gantry-launch", "gantry-init"} {
		file := filepath.Join(shared.dir, "bin", program)
		if err := os.Rename(file, file+".before"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := os.Rename(file+".before", file); err != nil {
				t.Error(err)
			}
		})
		if err := os.WriteFile(file, []byte("#!/bin/sh\necho of another version >&2\nexit 1\n"), 0o755); err != nil { // #nosec: a program
			t.Fatal(err)
		}
	}
	m.must(t, "gantry", "restart", "--app=web", uuid)
	m.must(t, "gantry", "kill", "--app=web", uuid)
	await.Until(t, "the app's next run", func() bool {
		var apps string
		code, apps, _ := m.run(t, "gantry", "app", "list", "--no-legend", uuid)
		return code == 0 && strings.Contains(apps, "running") && strings.Contains(m.must(t, "gantry", "inspect", uuid), `"runs": 2`)
	})
	if now := m.mainPID(t, "replaced.service"); now != pid {
		t.Errorf("the pod did not survive: %s", fmt.Sprint(pid, " is ", now))
	}
}

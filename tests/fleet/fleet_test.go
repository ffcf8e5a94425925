package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gantryrun/gantry/tests/box"
	"github.com/gantryrun/gantry/tests/build"
	"github.com/gantryrun/gantry/tests/hosts"
)

func TestMain(m *testing.M) {
	if snapshotWanted() {
		return
	}
	os.Exit(box.Main(m))
}

// The whole acceptance run on two hosts of three pods, without its targets for time: `make fleet` has those.
func TestSmallFleet(t *testing.T) {
	bin := build.Dir(t)
	root, err := build.Root()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := hosts.Tree(); err != nil && os.Getenv("CI") == "" {
		t.Skipf("skipped: %v", err)
	}
	if !box.Enter(t, build.Env(bin)) {
		return
	}
	s := settings{
		bin: bin, root: root, hosts: 2, pods: 3, kills: len(killings), exited: 10, parallel: 3, gate: 3, lines: 50_000,
		cold: 2 * time.Minute, warm: 2 * time.Minute,
	}
	if s.work, err = os.MkdirTemp("", "gantry-fleet-"); err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(s.work)
	var out strings.Builder
	if err := acceptance(t.Context(), s, &out); err != nil {
		t.Error(err)
	}
	t.Log(out.String())
}

// Ansible's tasks are what Ansible takes for tasks.
func TestPlaybook(t *testing.T) {
	root, err := build.Root()
	if err != nil {
		t.Fatal(err)
	}
	program, err := exec.LookPath("ansible-playbook")
	if err != nil {
		t.Skip("skipped: no ansible-playbook on this machine: install ansible-core")
	}
	cmd := exec.Command(program, "--syntax-check", "-i", "hosts.yml", "site.yml")
	cmd.Dir = filepath.Join(root, "examples/fleet/ansible")
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "ANSIBLE_LOCALHOST_WARNING=False")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

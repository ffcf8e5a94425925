package main

import (
	"os"
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
		bin: bin, root: root, hosts: 2, pods: 3, kills: len(killings), exited: 10, parallel: 3, gate: 3, lines: 50_000, rate: 20,
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

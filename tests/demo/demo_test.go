package main

import (
	"os"
	"testing"

	"github.com/gantryrun/gantry/tests/box"
	"github.com/gantryrun/gantry/tests/build"
)

func TestMain(m *testing.M) { os.Exit(box.Main(m)) }

// The demo runs, and finds the machine as it was.
func TestDemo(t *testing.T) {
	if _, err := images.ReadFile("image/demo.oci.tar"); err != nil {
		t.Skip("skipped: the demo's image is not built: run make demo-image")
	}
	bin := build.Dir(t)
	if !box.Enter(t, build.Env(bin)) {
		return
	}
	if err := run(t.Context(), bin); err != nil {
		t.Error(err)
	}
}

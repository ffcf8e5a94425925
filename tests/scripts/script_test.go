package scripts

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/gantryrun/gantry/tests/box"
	"github.com/gantryrun/gantry/tests/build"
	"github.com/gantryrun/gantry/tests/invariant"
)

func TestMain(m *testing.M) { os.Exit(box.Main(m)) }

// TestScripts runs every script, each in a box, on the store that fits the machine.
func TestScripts(t *testing.T) { runScripts(t, "auto", "*") }

// TestScriptsDir runs those that have to do with images again, on the directory backend.
func TestScriptsDir(t *testing.T) {
	runScripts(t, "dir", "run_rootfs", "run_two_apps", "run_volume", "image_list_rm", "gc_*", "rm_pod", "prepare_run", "bad_digest", "bad_manifest")
}

func runScripts(t *testing.T, store string, patterns ...string) {
	bin := build.Dir(t)
	for _, p := range patterns {
		files, err := filepath.Glob("testdata/" + p + ".txtar")
		if err != nil || len(files) == 0 {
			t.Fatalf("no scripts %s: %v", p, err)
		}
		for _, file := range files {
			t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
				t.Parallel()
				if box.Enter(t, build.Env(bin)) {
					runScript(t, bin, store, file)
				}
			})
		}
	}
}

// runScript runs one script inside the box.
func runScript(t *testing.T, bin, store, file string) {
	testscript.Run(t, testscript.Params{
		Files:    []string{file},
		Deadline: time.Now().Add(10 * time.Minute), // what hangs is interrupted, and the script fails
		Setup:    func(env *testscript.Env) error { return setup(env, bin, store) },
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"registry": startRegistry, "exits": exits, "refused": refused, "setenv": setenv,
			"wait-state": waitState, "leakcheck": leakCheck, "disk": disk,
			"wait-file": waitFile, "wait-log": waitLog, "wait-ready": waitReady, "archive": archive, "fields": fields,
		},
	})
}

// wrapper is the gantry of a script: the program, with the script's directories.
const wrapper = `#!/bin/sh
exec %s/gantry --store=%s --dir="$GANTRY_DIR" --system-config="$WORK/etc/system" --local-config="$WORK/etc/local" --user-config="$WORK/etc/user" "$@"
`

// setup gives a script its own directories and takes the picture that leakcheck compares with.
func setup(env *testscript.Env, bin, store string) error {
	dir := filepath.Join(env.WorkDir, "data")
	for _, d := range []string{".bin", "etc/system", "etc/local", "etc/user", "home"} {
		if err := os.MkdirAll(filepath.Join(env.WorkDir, d), 0o755); err != nil {
			return err
		}
	}
	if err := os.Chmod(env.WorkDir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(env.WorkDir, ".bin/gantry"), fmt.Appendf(nil, wrapper, bin, store), 0o755); err != nil {
		return err
	}
	env.Setenv("GANTRY_DIR", dir)
	env.Setenv("GANTRY_BIN", bin)
	env.Setenv("HOME", filepath.Join(env.WorkDir, "home"))
	env.Setenv("PATH", filepath.Join(env.WorkDir, ".bin")+":"+env.Getenv("PATH")+":/usr/sbin:/sbin")
	opts := invariant.Options{Dirs: []string{dir}, Standing: true}
	before, err := invariant.Take(opts)
	if err != nil {
		return err
	}
	env.Values[leakKey{}] = leak{opts, before}
	env.Defer(func() { finish(env) })
	return nil
}

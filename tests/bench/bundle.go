package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantryrun/gantry/tests/ociimage"
)

// makeBundle unpacks busybox and writes runc's own default configuration, with the command, and with the seccomp
// profile that gantry and podman use.
func (b *bench) makeBundle(name string, args ...string) error {
	dir := filepath.Join(b.work, name)
	entries, err := ociimage.BusyboxEntries()
	if err != nil {
		return err
	}
	data, err := ociimage.Tar(entries...)
	if err != nil {
		return err
	}
	tar := filepath.Join(b.work, "busybox.tar")
	if err := os.WriteFile(tar, data, 0o644); err != nil {
		return err
	}
	root := filepath.Join(dir, "rootfs")
	if err := os.Mkdir(root, 0o755); err != nil {
		return err
	}
	for _, args := range [][]string{{"tar", "-x", "-C", root, "-f", tar}, {"runc", "spec", "-b", dir}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", args[0], err, out)
		}
	}
	file := filepath.Join(dir, "config.json")
	if data, err = os.ReadFile(file); err != nil {
		return err
	}
	var spec specs.Spec
	if err := json.Unmarshal(data, &spec); err != nil {
		return err
	}
	spec.Process.Args, spec.Process.Terminal = args, false
	if spec.Linux.Seccomp, err = seccomp.GetDefaultProfile(&spec); err != nil {
		return err
	}
	if data, err = json.Marshal(spec); err != nil {
		return err
	}
	return os.WriteFile(file, data, 0o644)
}

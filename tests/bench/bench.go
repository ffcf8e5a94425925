package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/gantryrun/gantry/tests/testimages"
)

// bench is what the cases share: directories, a registry, the peers' set-up.
type bench struct {
	settings
	registry *testimages.Registry
	crunBox  *thread          // where crun, and podman because of it, are started from
	peaks    map[string]int64 // kB of memory, by contender, the largest of all rounds
}

func (b *bench) prepare(ctx context.Context) error {
	for _, d := range []string{"gantry", "empty", "podman", "podman-run", "bundle", "bundle-sleep", "disk"} {
		if err := os.Mkdir(filepath.Join(b.work, d), 0o755); err != nil {
			return err
		}
	}
	var err error
	b.registry, err = testimages.Start(ctx, testimages.Options{Storage: filepath.Join(b.cache, "registry"), ReadOnly: true})
	if err != nil {
		return err
	}
	if err := errors.Join(b.makeBundle("bundle", "/bin/true"), b.makeBundle("bundle-sleep", "/bin/sleep", "1000")); err != nil {
		return fmt.Errorf("make bundles for runc: %w", err)
	}
	if b.crunBox, err = newThread(withoutUnified); err != nil {
		return fmt.Errorf("make mount namespace for crun: %w", err)
	}
	if err := b.gantry(ctx, "fetch", b.image("busybox")); err != nil {
		return err
	}
	return b.podman(ctx, "pull", "-q", "--tls-verify=false", b.image("busybox"))
}

func (b *bench) image(name string) string { return b.registry.Addr + "/" + name + ":1" }

func (b *bench) gantryArgs(dir string, args ...string) []string {
	empty := filepath.Join(b.work, "empty")
	return append([]string{filepath.Join(b.bin, "gantry"), "--dir=" + dir, "--system-config=" + empty, "--local-config=" + empty, "--user-config=" + empty}, args...)
}

func (b *bench) gantry(ctx context.Context, args ...string) error {
	return command(ctx, b.gantryArgs(filepath.Join(b.work, "gantry"), args...)...)
}

func (b *bench) podmanArgs(root string, args ...string) []string {
	return append([]string{"podman", "--root=" + root, "--runroot=" + filepath.Join(b.work, "podman-run"), "--cgroup-manager=cgroupfs"}, args...)
}

func (b *bench) podman(ctx context.Context, args ...string) error {
	return b.crunBox.do(func() error { return command(ctx, b.podmanArgs(filepath.Join(b.work, "podman"), args...)...) })
}

// command runs a program; its output is part of the error only.
func command(ctx context.Context, args ...string) error {
	_, _, err := output(ctx, args...)
	return err
}

// peak is command, and remembers for who how much memory the program had, or the largest of those it waited for.
func (b *bench) peak(ctx context.Context, who string, args ...string) error {
	_, usage, err := output(ctx, args...)
	if err == nil && b.peaks != nil {
		b.peaks[who] = max(b.peaks[who], usage.Maxrss)
	}
	return err
}

func output(ctx context.Context, args ...string) (string, *syscall.Rusage, error) {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	// Files, not pipes: a program that leaves a child behind (conmon) would keep a pipe open.
	out, err := os.CreateTemp("", "bench-out-")
	if err != nil {
		return "", nil, err
	}
	defer out.Close()
	defer os.Remove(out.Name())
	cmd.Stdout, cmd.Stderr = out, out
	err = cmd.Run()
	data, readErr := os.ReadFile(out.Name())
	if err != nil {
		return "", nil, fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), errors.Join(err, readErr), bytes.TrimSpace(data))
	}
	return strings.TrimSpace(string(data)), cmd.ProcessState.SysUsage().(*syscall.Rusage), readErr
}

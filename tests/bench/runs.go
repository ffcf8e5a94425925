package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/tests/ociimage"
)

func (b *bench) gantryRun(net string) contender {
	return contender{
		name: "gantry",
		run: func(ctx context.Context) error {
			return b.gantry(ctx, "run", "--net="+net, b.image("busybox"), "--", "true")
		},
		after: func(ctx context.Context) error { return b.gantry(ctx, "gc", "--grace-period=0s") },
	}
}

func (b *bench) podmanRun(net string) contender {
	return contender{name: "podman", run: func(ctx context.Context) error {
		return b.podman(ctx, "run", "--rm", "--network="+net, b.image("busybox"), "true")
	}}
}

func (b *bench) gantryPod() contender {
	return contender{
		name: "gantry",
		run: func(ctx context.Context) error {
			return b.gantry(ctx, "run", "--detach", "--pod-name=bench", b.image("busybox"), "--name=a", "--", "sleep", "1000", "---",
				b.image("busybox"), "--name=b", "--", "sleep", "1000", "---")
		},
		after: func(ctx context.Context) error {
			if err := b.gantry(ctx, "stop", "--force", "bench"); err != nil {
				return err
			}
			return b.gantry(ctx, "gc", "--grace-period=0s")
		},
	}
}

func (b *bench) podmanPod() contender {
	return contender{
		name: "podman, 4 commands",
		run: func(ctx context.Context) error {
			for _, args := range [][]string{
				{"pod", "create", "--name=bench", "--infra-command=/bin/busybox sleep 1000", "--infra-image=" + b.image("busybox")},
				{"create", "--pod=bench", b.image("busybox"), "sleep", "1000"},
				{"create", "--pod=bench", b.image("busybox"), "sleep", "1000"},
				{"pod", "start", "bench"},
			} {
				if err := b.podman(ctx, args...); err != nil {
					return err
				}
			}
			return nil
		},
		after: func(ctx context.Context) error { return b.podman(ctx, "pod", "rm", "-f", "-t", "0", "bench") },
	}
}

// bundle is an OCI runtime on a bundle that is unpacked already: it has no image, no overlay and no clean-up to do.
func (b *bench) bundle(runtime string) contender {
	state := filepath.Join(b.work, runtime+"-state")
	args := []string{runtime, "--root", state, "run", "--bundle", filepath.Join(b.work, "bundle"), "bench-" + runtime}
	run := func(ctx context.Context) error { return command(ctx, args...) }
	if runtime == "crun" {
		run = func(ctx context.Context) error { return b.crunBox.do(func() error { return command(ctx, args...) }) }
	}
	return contender{name: runtime, run: run}
}

// makeBundle unpacks busybox and writes runc's own default configuration, with the command, and with the seccomp
// profile that gantry and podman use.
func (b *bench) makeBundle() error {
	dir := filepath.Join(b.work, "bundle")
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
	spec.Process.Args, spec.Process.Terminal = []string{"/bin/true"}, false
	if spec.Linux.Seccomp, err = seccomp.GetDefaultProfile(&spec); err != nil {
		return err
	}
	if data, err = json.Marshal(spec); err != nil {
		return err
	}
	return os.WriteFile(file, data, 0o644)
}

// thread is an OS thread with a mount namespace of its own, from which programs can be started.
type thread struct{ jobs chan func() }

func newThread(setup func() error) (*thread, error) {
	t := &thread{jobs: make(chan func())}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the program
		ready <- setup()
		for job := range t.jobs {
			job()
		}
	}()
	return t, <-ready
}

// do runs f on the thread; what f starts is started from there.
func (t *thread) do(f func() error) error {
	done := make(chan error)
	t.jobs <- func() { done <- f() }
	return <-done
}

// withoutUnified hides the v2 hierarchy of a hybrid machine from the calling thread: crun 1.8 refuses that layout.
func withoutUnified() error {
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return err
	}
	if _, err := os.Stat("/sys/fs/cgroup/unified"); err != nil {
		return nil
	}
	return unix.Unmount("/sys/fs/cgroup/unified", unix.MNT_DETACH)
}

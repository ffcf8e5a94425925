package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"golang.org/x/sys/unix"
)

// runs measures one app that ends at once, without network, with the default one, and with a published port, in one loop.
func (b *bench) runs(ctx context.Context) ([]row, error) {
	t, err := loop(ctx, 1, b.rounds,
		b.gantryRun("gantry", "--net=none"), b.bundle("runc"), b.bundle("crun"), b.podmanRun("podman", "--network=none"),
		b.gantryRun("gantry, network"), b.gantryRun("gantry, port", "--port=18080:80/tcp"),
		b.podmanRun("podman, network"), b.podmanRun("podman, port", "--publish=18081:80"))
	if err != nil {
		return nil, err
	}
	none := t.into(row{
		name: "run --net=none busybox true, warm, to exit", unit: "ms", limits: []limit{ratio("runc", 1.25), ratio("runc", 0.8), ratio("crun", 1)},
	}, 0, "gantry", "runc", "crun", "podman")
	network := t.into(row{
		name: "run on the default network, to exit", unit: "ms", limits: []limit{ratio("podman, network", 0.25)},
	}, 0, "gantry, network", "podman, network")
	port := t.into(row{name: "run with a published port, to exit", unit: "ms"}, 0, "gantry, port", "podman, port")
	of := func(r row, i int) float64 { return r.lines[i].value }
	return []row{
		none, network, port,
		{name: "what the default network adds to run --net=none", unit: "ms", rounds: b.rounds, limits: []limit{atMost(15)}, lines: []line{
			{"gantry", of(network, 0) - of(none, 0)}, {"podman", of(network, 1) - of(none, 3)},
		}},
		{name: "what it adds with one published port", unit: "ms", rounds: b.rounds, limits: []limit{atMost(20)}, lines: []line{
			{"gantry", of(port, 0) - of(none, 0)}, {"podman", of(port, 1) - of(none, 3)},
		}},
	}, nil
}

func (b *bench) twoApps(ctx context.Context) ([]row, error) {
	t, err := loop(ctx, 1, b.rounds, b.gantryPod(), b.podmanPod())
	return []row{t.into(row{
		name: "pod of two apps on the default network, to started", unit: "ms", limits: []limit{ratio("podman, 4 commands", 0.25)},
	}, 0)}, err
}

// enter measures a command in a pod, or container, that runs already.
func (b *bench) enter(ctx context.Context) ([]row, error) {
	sleep := []string{"sleep", "1000"}
	crun := func(args ...string) error {
		return b.crunBox.do(func() error {
			return command(ctx, append([]string{"crun", "--root", filepath.Join(b.work, "crun-state")}, args...)...)
		})
	}
	if err := errors.Join(
		b.gantry(ctx, append([]string{"run", "--net=none", "--detach", "--pod-name=enter", b.image("busybox"), "--"}, sleep...)...),
		b.podman(ctx, append([]string{"run", "-d", "--network=none", "--name=enter", b.image("busybox")}, sleep...)...),
		crun("run", "-d", "--bundle", filepath.Join(b.work, "bundle-sleep"), "enter"),
	); err != nil {
		return nil, err
	}
	t, err := loop(ctx, 1, b.rounds,
		contender{name: "gantry", run: func(ctx context.Context) error { return b.gantry(ctx, "enter", "enter", "true") }},
		contender{name: "podman exec", run: func(ctx context.Context) error { return b.podman(ctx, "exec", "enter", "true") }},
		contender{name: "crun exec", run: func(context.Context) error { return crun("exec", "enter", "true") }})
	err = errors.Join(err,
		b.gantry(ctx, "stop", "--force", "enter"), b.gantry(ctx, "gc", "--grace-period=0s"),
		b.podman(ctx, "rm", "-f", "-t", "0", "enter"), crun("delete", "-f", "enter"))
	return []row{t.into(row{name: "enter: true in a running pod", unit: "ms", limits: []limit{ratio("podman exec", 0.3)}}, 0)}, err
}

// gantryRun runs busybox's true, with flags of a pod.
func (b *bench) gantryRun(name string, flags ...string) contender {
	return contender{
		name: name,
		run: func(ctx context.Context) error {
			return b.gantry(ctx, slices.Concat([]string{"run"}, flags, []string{b.image("busybox"), "--", "true"})...)
		},
		after: func(ctx context.Context) error { return b.gantry(ctx, "gc", "--grace-period=0s") },
	}
}

func (b *bench) podmanRun(name string, flags ...string) contender {
	return contender{name: name, run: func(ctx context.Context) error {
		return b.podman(ctx, slices.Concat([]string{"run", "--rm"}, flags, []string{b.image("busybox"), "true"})...)
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

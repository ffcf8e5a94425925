package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/gantryrun/gantry/pods"
)

const (
	burstSize = 50
	manyPods  = 500
	mostPods  = 4000
)

// burst starts many pods detached, eight at a time.
func (b *bench) burst(ctx context.Context) ([]row, error) {
	const rounds = 2
	none, err := loop(ctx, 0, rounds, b.gantryBurst("none"), b.podmanBurst("none"), b.crunBurst())
	if err != nil {
		return nil, err
	}
	network, err := loop(ctx, 0, rounds, b.gantryBurst("default"), b.podmanBurst("bridge"))
	return []row{
		none.into(row{name: fmt.Sprintf("%d pods started detached, 8 at a time, no network", burstSize), unit: "s", limits: []limit{atMost(1.5)}}, 0),
		network.into(row{name: "the same on the default network", unit: "s", limits: []limit{atMost(1.8)}}, 0),
	}, err
}

// eightAtATime runs a command n times; "{}" in it is the number of the run.
func eightAtATime(ctx context.Context, n int, args ...string) error {
	return command(ctx, append([]string{"sh", "-c", `n=$1; shift; seq "$n" | xargs -P 8 -I{} "$@"`, "sh", fmt.Sprint(n)}, args...)...)
}

func (b *bench) gantryBurst(net string) contender {
	dir := filepath.Join(b.work, "gantry")
	return contender{
		name: "gantry",
		run: func(ctx context.Context) error {
			return eightAtATime(ctx, burstSize, b.gantryArgs(dir, "run", "--net="+net, "--detach", "--pod-name=burst-{}", b.image("busybox"), "--", "sleep", "1000")...)
		},
		after: func(ctx context.Context) error {
			args := []string{"stop", "--force"}
			for i := range burstSize {
				args = append(args, fmt.Sprintf("burst-%d", i+1))
			}
			return errors.Join(b.gantry(ctx, args...), b.gantry(ctx, "gc", "--grace-period=0s"))
		},
	}
}

func (b *bench) podmanBurst(net string) contender {
	root := filepath.Join(b.work, "podman")
	return contender{
		name: "podman",
		run: func(ctx context.Context) error {
			return b.crunBox.do(func() error {
				return eightAtATime(ctx, burstSize, b.podmanArgs(root, "run", "-d", "--network="+net, "--name=burst-{}", b.image("busybox"), "sleep", "1000")...)
			})
		},
		after: func(ctx context.Context) error { return b.podman(ctx, "rm", "-f", "-a", "-t", "0") },
	}
}

func (b *bench) crunBurst() contender {
	crun := []string{"crun", "--root", filepath.Join(b.work, "crun-state")}
	many := func(ctx context.Context, args ...string) error {
		return b.crunBox.do(func() error { return eightAtATime(ctx, burstSize, append(crun, args...)...) })
	}
	return contender{
		name: "crun run -d",
		run: func(ctx context.Context) error {
			return many(ctx, "run", "-d", "--bundle", filepath.Join(b.work, "bundle-sleep"), "burst-{}")
		},
		after: func(ctx context.Context) error { return many(ctx, "delete", "-f", "burst-{}") },
	}
}

// exited measures what pods cost that are over: to list them, and to remove them.
func (b *bench) exited(ctx context.Context) ([]row, error) {
	few, lots := filepath.Join(b.work, "gantry"), filepath.Join(b.work, "lots")
	if err := errors.Join(
		eightAtATime(ctx, manyPods, b.gantryArgs(few, "run", "--net=none", b.image("busybox"), "--name=app{}", "--", "true")...),
		b.crunBox.do(func() error {
			return eightAtATime(ctx, manyPods, b.podmanArgs(filepath.Join(b.work, "podman"), "run", "--network=none", "--name=exited-{}", b.image("busybox"), "true")...)
		}),
		multiply(few, lots, mostPods),
	); err != nil {
		return nil, err
	}
	list := func(dir string) func(context.Context) error {
		return func(ctx context.Context) error { return command(ctx, b.gantryArgs(dir, "list")...) }
	}
	const lists = 10
	t, err := loop(ctx, 1, lists,
		contender{name: "gantry", run: list(few), then: []func(context.Context) error{list(lots)}},
		contender{name: "podman ps -a", run: func(ctx context.Context) error { return b.podman(ctx, "ps", "-a") }})
	if err != nil {
		return nil, err
	}
	gc, err := loop(ctx, 0, 1,
		contender{name: "gantry", run: func(ctx context.Context) error { return b.gantry(ctx, "gc", "--grace-period=0s") }},
		contender{name: "podman container prune", run: func(ctx context.Context) error { return b.podman(ctx, "container", "prune", "-f") }})
	return []row{
		t.into(row{name: fmt.Sprintf("list of %d exited pods", manyPods), unit: "ms", limits: []limit{atMost(20)}}, 0),
		t.into(row{name: fmt.Sprintf("list of %d exited pods (copies of the others)", mostPods), unit: "ms", limits: []limit{atMost(120)}}, 1),
		gc.into(row{name: fmt.Sprintf("gc of %d exited pods", manyPods), unit: "s", limits: []limit{atMost(1)}}, 0),
	}, errors.Join(err, os.RemoveAll(lots))
}

// multiply fills a data directory with n pods that are copies of those of another, under UUIDs of their own.
func multiply(from, to string, n int) error {
	have, err := os.ReadDir(filepath.Join(from, "pods"))
	if err != nil {
		return err
	}
	for i := range n {
		old, uuid := have[i%len(have)].Name(), pods.NewUUID()
		src, dst := filepath.Join(from, "pods", old), filepath.Join(to, "pods", uuid)
		err := filepath.WalkDir(src, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			target := filepath.Join(dst, strings.TrimPrefix(path, src))
			if d.IsDir() {
				return os.MkdirAll(target, 0o700)
			}
			if d.Type() == fs.ModeSymlink {
				to, err := os.Readlink(path)
				return errors.Join(err, os.Symlink(to, target))
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			return os.WriteFile(target, bytes.ReplaceAll(data, []byte(old), []byte(uuid)), 0o600)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
)

// crowd measures whether a pod costs what the first one did when the host has many already: leases, rules, links and
// lists that are walked would show. There is no peer in it; podman's bridge takes 1,023 ports.
func (b *bench) crowd(ctx context.Context) ([]row, error) {
	pod := func(name string) contender {
		c := b.gantryRun(name, "--port=18080:80/tcp")
		// gc of the whole crowd after each run would be a measurement of its own.
		c.after = nil
		return c
	}
	few, many := "alone on the host", fmt.Sprintf("beside %d others", b.settings.crowd)
	first, err := loop(ctx, 1, b.rounds, pod(few))
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(b.work, "gantry")
	err = eightAtATime(ctx, b.settings.crowd, b.gantryArgs(dir, "run", "--detach", "--pod-name=crowd-{}", b.image("busybox"), "--", "sleep", "10000")...)
	if err != nil {
		return nil, err // the box ends what was started
	}
	last, err := loop(ctx, 1, b.rounds, pod(many))
	if err = errors.Join(err, b.disperse(ctx)); err != nil {
		return nil, err
	}
	both := timings{rounds: b.rounds, names: []string{many, few}, took: append(last.took, first.took...)}
	return []row{both.into(row{
		name: "run on the default network with a published port, to exit", unit: "ms", limits: []limit{ratio(few, 1.25)},
	}, 0)}, nil
}

// disperse stops the crowd, a hundred at a time: a command line is only so long.
func (b *bench) disperse(ctx context.Context) error {
	var errs []error
	for i := 1; i <= b.settings.crowd; i += 100 {
		args := []string{"stop", "--force"}
		for n := i; n < i+100 && n <= b.settings.crowd; n++ {
			args = append(args, fmt.Sprintf("crowd-%d", n))
		}
		errs = append(errs, b.gantry(ctx, args...))
	}
	return errors.Join(append(errs, b.gantry(ctx, "gc", "--grace-period=0s"))...)
}

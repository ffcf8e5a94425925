package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// contender is one way to do what a case measures.
type contender struct {
	name   string
	before func(ctx context.Context) error // not timed; may be nil
	run    func(ctx context.Context) error
	after  func(ctx context.Context) error // not timed; may be nil
}

// testCase is one row of the table.
type testCase struct {
	name    string
	share   int // of the processors: small where the kernel's own threads, which write to the disk, do much of the work
	measure func(ctx context.Context, b *bench) (row, error)
}

var cases = []testCase{
	{"run, no network", 262144, func(ctx context.Context, b *bench) (row, error) {
		return b.interleave(ctx, row{
			name: "run --net=none busybox true, warm, to exit", unit: "ms", target: 1.25, against: "runc",
		}, b.rounds, b.gantryRun("none"), b.bundle("runc"), b.bundle("crun"), b.podmanRun("none"))
	}},
	{"run, default network", 262144, func(ctx context.Context, b *bench) (row, error) {
		return b.interleave(ctx, row{
			name: "run on the default network, to exit", unit: "ms", target: 0.25, against: "podman",
		}, b.rounds, b.gantryRun("default"), b.podmanRun("bridge"))
	}},
	{"pod of two apps", 262144, func(ctx context.Context, b *bench) (row, error) {
		return b.interleave(ctx, row{
			name: "pod of two apps on the default network, to started", unit: "ms", target: 0.25, against: "podman, 4 commands",
		}, b.rounds, b.gantryPod(), b.podmanPod())
	}},
	{"fetch", 8192, func(ctx context.Context, b *bench) (row, error) {
		size, err := b.largeSize()
		if err != nil {
			return row{}, err
		}
		return b.interleave(ctx, row{
			name: "fetch of " + size + ", loopback registry", unit: "s", target: 0.4, against: "podman",
		}, max(3, b.rounds/5), b.gantryFetch(), b.podmanFetch(), b.floorFetch())
	}},
	{"memory", 8192, func(ctx context.Context, b *bench) (row, error) { return b.memory(ctx) }},
}

// row is a case with its results.
type row struct {
	name    string
	unit    string  // "ms", "s" or "kB"
	target  float64 // largest ratio of gantry to against, or, without against, the largest value
	against string
	rounds  int
	lines   []line
}

type line struct {
	who   string
	value float64 // median
}

func (r row) format(v float64) string {
	switch r.unit {
	case "s":
		return fmt.Sprintf("%.2f s", v)
	case "kB":
		return fmt.Sprintf("%.0f kB", v)
	default:
		return fmt.Sprintf("%.1f ms", v)
	}
}

// interleave runs one of each contender per round, after a round that does not count.
func (b *bench) interleave(ctx context.Context, r row, rounds int, contenders ...contender) (row, error) {
	took := make([][]float64, len(contenders))
	for round := range rounds + 1 {
		for i, c := range contenders {
			d, err := c.time(ctx)
			if err != nil {
				return r, fmt.Errorf("%s: %w", c.name, err)
			}
			if round > 0 {
				took[i] = append(took[i], d.Seconds())
			}
		}
	}
	scale := 1.0
	if r.unit == "ms" {
		scale = 1000
	}
	for i, c := range contenders {
		r.lines = append(r.lines, line{c.name, scale * median(took[i])})
	}
	r.rounds = rounds
	return r, nil
}

func (c contender) time(ctx context.Context) (time.Duration, error) {
	if c.before != nil {
		if err := c.before(ctx); err != nil {
			return 0, err
		}
	}
	start := time.Now()
	if err := c.run(ctx); err != nil {
		return 0, err
	}
	took := time.Since(start)
	if c.after != nil {
		return took, c.after(ctx)
	}
	return took, nil
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}

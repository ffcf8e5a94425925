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
	then   []func(ctx context.Context) error // further steps, each timed for itself
	after  func(ctx context.Context) error   // not timed; may be nil
}

// testCase gives rows of the table.
type testCase struct {
	name    string
	share   int // of the processors: small where the kernel's own threads, which write to the disk or take a pod's remains away, do much of the work
	measure func(ctx context.Context, b *bench) ([]row, error)
}

const (
	busy   = 262144
	shared = 8192
)

var cases = []testCase{
	{"run", busy, func(ctx context.Context, b *bench) ([]row, error) { return b.runs(ctx) }},
	{"pod of two apps", busy, func(ctx context.Context, b *bench) ([]row, error) { return b.twoApps(ctx) }},
	{"enter", busy, func(ctx context.Context, b *bench) ([]row, error) { return b.enter(ctx) }},
	{"burst", busy, func(ctx context.Context, b *bench) ([]row, error) { return b.burst(ctx) }},
	{"exited", busy, func(ctx context.Context, b *bench) ([]row, error) { return b.exited(ctx) }},
	{"generator", busy, func(ctx context.Context, b *bench) ([]row, error) { return b.generator(ctx) }},
	{"memory", shared, func(ctx context.Context, b *bench) ([]row, error) { return b.memory(ctx) }},
	{"thousand", shared, func(ctx context.Context, b *bench) ([]row, error) { return b.thousand(ctx) }},
	{"throughput", busy, func(ctx context.Context, b *bench) ([]row, error) { return b.throughput(ctx) }},
	{"fetch, 1 MB", busy, func(ctx context.Context, b *bench) ([]row, error) { return b.fetchSmall(ctx) }},
	{"fetch, files", shared, func(ctx context.Context, b *bench) ([]row, error) { return b.fetchFiles(ctx) }},
	{"fetch, gzip", shared, func(ctx context.Context, b *bench) ([]row, error) { return b.fetchLarge(ctx, "gzip") }},
	{"fetch, zstd", shared, func(ctx context.Context, b *bench) ([]row, error) { return b.fetchLarge(ctx, "zstd") }},
}

// timings are what a loop took: seconds, by contender, step and round.
type timings struct {
	rounds int
	names  []string
	took   [][][]float64
}

// loop runs one of each contender per round, after as many rounds as warm says, which do not count.
func loop(ctx context.Context, warm, rounds int, contenders ...contender) (timings, error) {
	t := timings{rounds: rounds}
	for _, c := range contenders {
		t.names = append(t.names, c.name)
		t.took = append(t.took, make([][]float64, 1+len(c.then)))
	}
	for round := range warm + rounds {
		for i, c := range contenders {
			took, err := c.time(ctx)
			if err != nil {
				return t, fmt.Errorf("%s: %w", c.name, err)
			}
			for step, d := range took {
				if round >= warm {
					t.took[i][step] = append(t.took[i][step], d.Seconds())
				}
			}
		}
	}
	return t, nil
}

func (c contender) time(ctx context.Context) ([]time.Duration, error) {
	if c.before != nil {
		if err := c.before(ctx); err != nil {
			return nil, err
		}
	}
	var took []time.Duration
	for _, step := range append([]func(context.Context) error{c.run}, c.then...) {
		start := time.Now()
		if err := step(ctx); err != nil {
			return nil, err
		}
		took = append(took, time.Since(start))
	}
	if c.after != nil {
		return took, c.after(ctx)
	}
	return took, nil
}

// into gives r the medians of a step, of the contenders that have it, or of those that are named; the first is gantry's.
func (t timings) into(r row, step int, names ...string) row {
	scale := 1.0
	if r.unit == "ms" {
		scale = 1000
	}
	for i, name := range t.names {
		if step < len(t.took[i]) && (names == nil || slices.Contains(names, name)) {
			r.lines = append(r.lines, line{name, scale * median(t.took[i][step])})
		}
	}
	r.rounds = t.rounds
	return r
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}

package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
)

const crowd = 1000

// thousand measures whether the pods that run already make the next one slower: its start, network and end.
func (b *bench) thousand(ctx context.Context) ([]row, error) {
	run := b.gantryRun("gantry", "--port=18080:80/tcp")
	run.after = nil // gc comes once, at the end: it looks at every pod
	alone, err := loop(ctx, 1, b.rounds, run)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(b.work, "gantry")
	err = eightAtATime(ctx, crowd, b.gantryArgs(dir, "run", "--detach", "--pod-name=crowd-{}", "--port=127.0.0.1:2{}:80/tcp", b.image("busybox"), "--", "sleep", "1000")...)
	if err != nil {
		return nil, err
	}
	crowded, err := loop(ctx, 1, b.rounds, run)
	args := []string{"stop", "--force"}
	for i := range crowd {
		args = append(args, fmt.Sprintf("crowd-%d", i+1))
	}
	err = errors.Join(err, b.gantry(ctx, args...), b.gantry(ctx, "gc", "--grace-period=0s"))
	if err != nil {
		return nil, err
	}
	r := row{name: fmt.Sprintf("run with a published port beside %d such pods", crowd), unit: "ms", limits: []limit{ratio("beside none", 1.1)}, rounds: b.rounds}
	r.lines = []line{{"gantry", 1000 * median(crowded.took[0][0])}, {"beside none", 1000 * median(alone.took[0][0])}}
	return []row{r}, nil
}

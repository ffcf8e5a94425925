package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const idle = 5 * time.Second // how long wake-ups are counted

// memory starts many pods of one app each and adds up what stays resident beside the apps, per pod, and how often it wakes up.
func (b *bench) memory(ctx context.Context) ([]row, error) {
	size := row{
		name: fmt.Sprintf("resident PSS per running pod beside its app, %d pods", burstSize), unit: "kB", limits: []limit{atMost(1500), atMost(1200)}, rounds: 1,
	}
	wakes := row{name: fmt.Sprintf("wake-ups per second of an idle pod, beside its app, %.0f s", idle.Seconds()), unit: "1/s", limits: []limit{atMost(0)}, rounds: 1}
	measure := func(who string, programs ...string) error {
		kB, n, err := resident(ctx, programs...)
		if err != nil {
			return err
		}
		size.lines = append(size.lines, line{who, float64(kB) / burstSize})
		wakes.lines = append(wakes.lines, line{who, float64(n) / burstSize / idle.Seconds()})
		return nil
	}
	g := b.gantryBurst("none")
	if err := g.run(ctx); err != nil {
		return nil, err
	}
	if err := measure("gantry (supervisor and reaper)", "gantry-stage1", "gantry-init"); err != nil {
		return nil, err
	}
	reaper, err := pss("gantry-init")
	if err != nil {
		return nil, err
	}
	size.lines = append(size.lines, line{"of it gantry-init", float64(reaper) / burstSize})
	p := b.podmanBurst("none")
	if err := errors.Join(g.after(ctx), p.run(ctx)); err != nil {
		return nil, err
	}
	if err := measure("podman's conmon, per container", "conmon"); err != nil {
		return nil, err
	}
	return []row{size, wakes}, p.after(ctx)
}

// resident gives the memory of all processes of the programs, and how often they woke up while nothing was asked of them.
func resident(ctx context.Context, programs ...string) (kB, wakes int, err error) {
	time.Sleep(time.Second) // what the start set in motion comes to rest
	before, err := switches(programs)
	if err != nil {
		return 0, 0, err
	}
	time.Sleep(idle)
	after, err := switches(programs)
	if err != nil {
		return 0, 0, err
	}
	for _, program := range programs {
		n, err := pss(program)
		if err != nil {
			return 0, 0, err
		}
		kB += n
	}
	return kB, after - before, ctx.Err()
}

// switches adds up how often the threads of all processes of the programs went to sleep, or were put aside.
func switches(programs []string) (int, error) {
	total := 0
	for _, program := range programs {
		dirs, err := processes(program)
		if err != nil {
			return 0, err
		}
		for _, dir := range dirs {
			files, err := filepath.Glob(filepath.Join(dir, "task/*/status"))
			if err != nil {
				return 0, err
			}
			for _, file := range files {
				n, err := sumOf(file, "voluntary_ctxt_switches:", "nonvoluntary_ctxt_switches:")
				if err != nil {
					return 0, err
				}
				total += n
			}
		}
	}
	return total, nil
}

// processes are the directories in /proc of a program's processes.
func processes(program string) ([]string, error) {
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(dir string) bool {
		exe, err := os.Readlink(filepath.Join(dir, "exe"))
		return err != nil || strings.TrimSuffix(filepath.Base(exe), " (deleted)") != program
	})
	if len(all) == 0 {
		return nil, fmt.Errorf("no process of %s", program)
	}
	return all, nil
}

// pss adds up, in kB, the proportional set size of all processes of a program.
func pss(program string) (int, error) {
	dirs, err := processes(program)
	total := 0
	for _, dir := range dirs {
		n, err := sumOf(filepath.Join(dir, "smaps_rollup"), "Pss:")
		if err != nil {
			return 0, err
		}
		total += n
	}
	return total, err
}

// sumOf adds up the numbers of the lines that begin with one of the keys; each has to be there.
func sumOf(file string, keys ...string) (int, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	total, found := 0, 0
	for l := range strings.Lines(string(text)) {
		if words := strings.Fields(l); len(words) > 1 && slices.Contains(keys, words[0]) {
			n, err := strconv.Atoi(words[1])
			if err != nil {
				return 0, fmt.Errorf("read %s: %w", file, err)
			}
			total, found = total+n, found+1
		}
	}
	if found != len(keys) {
		return 0, fmt.Errorf("no %s in %s", strings.Join(keys, ", "), file)
	}
	return total, nil
}

// discard reads r to its end, closes it and says how much it was.
func discard(r io.ReadCloser) (int64, error) {
	defer r.Close()
	return io.Copy(io.Discard, r)
}

// Command bench measures gantry beside its peers, on this machine, in one loop: what an operator waits for, and
// what a running pod costs. `make bench-peers` builds and installs what it needs and writes docs/performance.md.
//
// Runs are interleaved (one of each contender, then the next round), and the table shows medians and ratios: only
// ratios measured in one run count. Everything happens in a box (package box) with a larger CPU share, data on a file
// system that is new for each fetch, and nothing is left.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/tests/box"
	"github.com/gantryrun/gantry/tests/testimages"
)

// settings are what the command line says.
type settings struct {
	bin, cache, out string
	rounds          int // of runs; a fetch is measured a fifth as often, at least three times
	only            string
	work            string // set by the outer process, which also removes it: in the box, mounts may keep it busy
}

func main() {
	if code, isInit := box.Init(); isInit {
		os.Exit(code)
	}
	var s settings
	flag.StringVar(&s.bin, "bin", "bin", "directory of gantry's programs")
	flag.StringVar(&s.cache, "cache", testimages.Cache(), "directory of the built images")
	flag.StringVar(&s.out, "o", "", "file for the table (default: standard output)")
	flag.IntVar(&s.rounds, "n", 20, "rounds")
	flag.StringVar(&s.only, "only", "", "measure only the cases whose names contain this")
	flag.StringVar(&s.work, "work", "", "(for the program itself)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	if err := run(ctx, s); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

// run goes into a box and measures there; the report is written outside of it.
func run(ctx context.Context, s settings) error {
	if box.Inside() {
		return measure(ctx, s)
	}
	var err error
	if s.work, err = os.MkdirTemp("", "gantry-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(s.work)
	report := filepath.Join(s.work, "report.md")
	if s.bin, err = filepath.Abs(s.bin); err != nil {
		return err
	}
	args := []string{
		"-bin=" + s.bin, "-cache=" + s.cache, "-work=" + s.work, "-o=" + report, fmt.Sprintf("-n=%d", s.rounds), "-only=" + s.only,
	}
	if err := box.Run(ctx, os.Stderr, args, nil); err != nil {
		return err
	}
	text, err := os.ReadFile(report)
	if err != nil {
		return err
	}
	if s.out == "" {
		_, err = os.Stdout.Write(text)
		return err
	}
	return os.WriteFile(s.out, text, 0o644)
}

// measure runs every case in the box and writes the report.
func measure(ctx context.Context, s settings) error {
	b := &bench{settings: s}
	if err := b.prepare(ctx); err != nil {
		return err
	}
	defer b.registry.Close()
	var rows []row
	for _, c := range cases {
		if !strings.Contains(c.name, s.only) {
			continue
		}
		fmt.Fprintf(os.Stderr, "bench: %s\n", c.name)
		setShare(c.share)
		start := time.Now()
		found, err := c.measure(ctx, b)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		for _, r := range found {
			fmt.Fprintf(os.Stderr, "bench:  %s\n", r.name)
			for i, line := range r.lines {
				fmt.Fprintf(os.Stderr, "bench:    %-40s %-12s %s\n", line.who, r.format(line.value), r.targets(i))
			}
		}
		fmt.Fprintf(os.Stderr, "bench:  (%.0f s)\n", time.Since(start).Seconds())
		rows = append(rows, found...)
	}
	return os.WriteFile(s.out, []byte(report(rows)), 0o644)
}

// setShare sets the box's weight beside the rest of the machine. A v1 cpu cgroup gets what its shares say; where
// there is none, the machine should be idle.
func setShare(share int) {
	_ = os.WriteFile("/sys/fs/cgroup/cpu/cpu.shares", []byte(strconv.Itoa(share)), 0)
}

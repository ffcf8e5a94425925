// Command fleet is the acceptance run: hosts with a real systemd each, joined by a bridge, full of pods from one templated
// unit, and everything done to them that happens to a fleet in a year. `make fleet` runs it and writes docs/fleet.md; the
// package's test runs the same with two hosts of three pods.
//
// It knows examples/fleet, which it uses as an operator would, the hosts of tests/hosts, and what every step has to show. It
// never touches the machine's network: all of it is in a box (package box). Invariant: at the end every host is as
// it was before its first pod.
//
//	box ── bridge "lab" 10.91.0.1/16 ── registry (TLS), discovery service, client, at constant rate
//	         ├── bond0 of host1 10.91.0.11 ── macvlan ── pods 10.91.1.1 ...
//	         ├── bond0 of host2 10.91.0.12 ── macvlan ── pods 10.91.2.1 ...
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/tests/box"
)

// settings are what the command line says.
type settings struct {
	bin, root   string // of programs, of the work tree
	out         string
	work        string // set by the outer process, which also removes it
	hosts, pods int    // pods: on each host
	kills       int
	exited      int // pods that are over and lie about
	parallel    int // instances that a rollout changes at once
	gate        int // how long a bad release may take to be ready, in seconds
	lines       int // of the log storm
	rate        int // requests of the client in a second
	cold, warm  time.Duration
}

func main() {
	if snapshotWanted() {
		return
	}
	if code, isInit := box.Init(); isInit {
		os.Exit(code)
	}
	s := settings{rate: 100, cold: 60 * time.Second, warm: 20 * time.Second}
	flag.StringVar(&s.bin, "bin", "bin", "directory of gantry's programs")
	flag.StringVar(&s.root, "root", ".", "the work tree")
	flag.StringVar(&s.out, "o", "", "file for the table (default: standard output)")
	flag.StringVar(&s.work, "work", "", "(for the program itself)")
	flag.IntVar(&s.hosts, "hosts", 3, "hosts")
	flag.IntVar(&s.pods, "pods", 14, "pods on each host")
	flag.IntVar(&s.kills, "kills", 50, "SIGKILLs")
	flag.IntVar(&s.exited, "exited", 500, "exited pods that lie about")
	flag.IntVar(&s.parallel, "parallel", 6, "instances that a rollout changes at once")
	flag.IntVar(&s.gate, "gate", 8, "seconds that a bad release may take to be ready")
	flag.IntVar(&s.lines, "lines", 300_000, "lines of the log storm, about 85 bytes each")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	err := inBox(ctx, s)
	if err != nil && !errors.Is(err, errSteps) { // those were said when they happened
		fmt.Fprintf(os.Stderr, "fleet: %v\n", err)
	}
	if err != nil {
		os.Exit(1)
	}
}

// inBox runs this program in a box; the report is written outside of it.
func inBox(ctx context.Context, s settings) (err error) {
	if box.Inside() {
		return acceptance(ctx, s, os.Stdout)
	}
	if s.work, err = os.MkdirTemp("", "gantry-fleet-"); err != nil {
		return err
	}
	defer os.RemoveAll(s.work)
	report := filepath.Join(s.work, "report.md")
	if s.bin, err = filepath.Abs(s.bin); err != nil {
		return err
	}
	if s.root, err = filepath.Abs(s.root); err != nil {
		return err
	}
	err = box.Run(ctx, os.Stdout, []string{
		"-bin=" + s.bin, "-root=" + s.root, "-work=" + s.work, "-o=" + report, fmt.Sprint("-hosts=", s.hosts), fmt.Sprint("-pods=", s.pods),
		fmt.Sprint("-kills=", s.kills), fmt.Sprint("-exited=", s.exited), fmt.Sprint("-parallel=", s.parallel),
		fmt.Sprint("-gate=", s.gate), fmt.Sprint("-lines=", s.lines),
	}, nil)
	text, missing := os.ReadFile(report)
	if missing != nil {
		return errors.Join(err, missing)
	}
	if s.out == "" {
		_, printed := os.Stdout.Write(text)
		return errors.Join(err, printed)
	}
	return errors.Join(err, os.WriteFile(s.out, text, 0o644))
}

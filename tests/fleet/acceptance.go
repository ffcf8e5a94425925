package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// step is one row of the table: what is done to the fleet, what has to hold, and what came out.
type step struct {
	name, target string
	run          func(ctx context.Context, l *lab) (figure string, err error)
}

// steps are the acceptance run, in their order: each finds the fleet up and leaves it so.
var steps = []step{
	{"cold storm: every pod of every host at once, nothing fetched", "", coldStorm},
	{"what every app was promised: attributes, volumes, address", "all", promises},
	{"stop of all pods at once: announce drains, then the app ends", "every drain 3 s or more, the app serving", stopAll},
	{"warm storm: the same with images in the store", "", warmStorm},
	{"between commands", "one supervisor and one reaper a pod, nothing else of gantry's", onlySupervisors},
	{"exited pods that lie about from here on, gc every 3 s on each host", "no gc fails, to the end", litter},
	{"rolling update under a client", "no failed request", rollingUpdate},
	{"a bad release, the registry down", "stops at one unit, which rolls back; no failed request", badRelease},
	{"the same by Ansible, for one instance", "switched; a sick release taken back; the neighbour untouched", ansible},
	{"log storm in one app under a client", "no failed request, log bounded", logStorm},
	{"random SIGKILLs", "no orphan, same address at once", kills},
	{"power cut of one host", "everything returns by itself", reboot},
	{"programs replaced under running pods", "old pods go on, new ones start", upgrade},
	{"a pod directory of each released format", "read, and removed by gc", golden},
	{"the end: stop, gc, image gc", "0 leaks", theEnd},
}

// acceptance runs the steps, says how each went, and writes the table.
func acceptance(ctx context.Context, s settings, out io.Writer) error {
	start := time.Now()
	l, err := newLab(ctx, s)
	if err != nil {
		return errors.Join(err, l.close())
	}
	fmt.Fprintf(out, "fleet: %d hosts are up after %.1f s\n", s.hosts, time.Since(start).Seconds())
	if err := l.layOut(); err != nil {
		return errors.Join(err, l.close())
	}
	var rows []row
	holds := true
	for _, step := range steps {
		begin := time.Now()
		figure, err := step.run(ctx, l)
		r := row{step: step, figure: figure, took: time.Since(begin), err: err}
		if r.target == "" {
			r.target = s.target(r.name)
		}
		rows = append(rows, r)
		fmt.Fprintf(out, "fleet: %s: %s (%.1f s)\n", r.name, r.figure, r.took.Seconds())
		if err != nil {
			fmt.Fprintf(out, "fleet: DOES NOT HOLD: %v\n", err)
			holds = false
		}
		if ctx.Err() != nil {
			break
		}
	}
	err = l.close()
	if s.out != "" {
		err = errors.Join(err, os.WriteFile(s.out, []byte(report(s, rows)), 0o644))
	}
	if !holds {
		err = errors.Join(err, errSteps)
	}
	return err
}

// errSteps says that a step did not hold; which and why was printed then.
var errSteps = errors.New("not all steps hold")

// target is what depends on the settings.
func (s settings) target(step string) string {
	switch step {
	case steps[0].name:
		return fmt.Sprintf("<= %.0f s", s.cold.Seconds())
	case steps[3].name:
		return fmt.Sprintf("<= %.0f s", s.warm.Seconds())
	default:
		return ""
	}
}

package main

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// rollingUpdate brings release 2 of web to every host, by the example, while the client asks.
func rollingUpdate(ctx context.Context, l *lab) (string, error) {
	if err := l.release("2", l.images["app1"], l.images["app2"]); err != nil {
		return "", err
	}
	c := l.ask(ctx)
	start := time.Now()
	said, err := l.rollout(ctx, "2", 60)
	took := time.Since(start)
	figure, bad := c.finish()
	if err != nil {
		return figure, fmt.Errorf("rollout: %w: %s", err, said)
	}
	if bad != nil {
		return figure, bad
	}
	switched := strings.Count(said, "switched")
	if want := len(l.all()) - len(l.hosts); switched != want {
		return figure, fmt.Errorf("%d of %d instances switched: %s", switched, want, said)
	}
	if again, err := l.rollout(ctx, "2", 60); err != nil || strings.Contains(again, "switched") {
		return figure, fmt.Errorf("a second rollout changed something: %w: %s", err, again)
	}
	return fmt.Sprintf("%d instances, %d at a time, in %.1f s; %s", switched, l.parallel, took.Seconds(), figure), l.releases(ctx, "2")
}

// releases checks which release every instance of web is.
func (l *lab) releases(ctx context.Context, want string) error {
	for _, i := range l.all() {
		if i.service != "web" {
			continue
		}
		s, err := i.ask(ctx)
		if err != nil {
			return err
		}
		if s.Release != want {
			return fmt.Errorf("%s is release %s, not %s", i.name, s.Release, want)
		}
	}
	return nil
}

// badRelease rolls out a release whose app is never healthy, after the registry went down: the first instance has it in its
// store. One instance may be touched, and has to come back as it was.
func badRelease(ctx context.Context, l *lab) (string, error) {
	if err := l.release("3", l.images["app1"], l.images["sick"]); err != nil {
		return "", err
	}
	if _, err := l.hosts[0].run(ctx, "gantry", "fetch", "--quiet", l.images["sick"]); err != nil {
		return "", err
	}
	l.registry.stop()
	c := l.ask(ctx)
	start := time.Now()
	said, err := l.rollout(ctx, "3", l.gate)
	took := time.Since(start)
	figure, bad := c.finish()
	back := l.registry.start()
	switch {
	case back != nil:
		return figure, back
	case err == nil:
		return figure, fmt.Errorf("the bad release was rolled out: %s", said)
	case strings.Count(said, "rolled back") != 1 || strings.Contains(said, "switched"):
		return figure, fmt.Errorf("more or less than one instance was rolled back: %s", said)
	case bad != nil:
		return figure, bad
	}
	err = l.each(func(h *host) error {
		_, err := h.sh(ctx, "! grep -l "+l.images["sick"]+" /etc/gantry/fleet/*.env")
		return err
	})
	if err == nil {
		err = l.complete(ctx)
	}
	if err == nil {
		err = l.releases(ctx, "2")
	}
	return fmt.Sprintf("1 instance touched, back as it was %.1f s after the rollout began (%d s of them the gate); %s", took.Seconds(), l.gate, figure), err
}

// logBound is the most that the logs of a pod with one talkative app may take, in kB: twice 10 MB of that app, a little of the others.
const logBound = 21 << 10

// logStorm lets one app write more than anybody wants to read.
func logStorm(ctx context.Context, l *lab) (string, error) {
	h := l.hosts[len(l.hosts)-1]
	i := h.instances[len(h.instances)-1]
	c := l.ask(ctx)
	start := time.Now()
	_, err := fetch(ctx, fmt.Sprintf("http://%s:8080/storm?lines=%d", i.address, l.lines))
	took := time.Since(start)
	figure, bad := c.finish()
	if err != nil {
		return figure, err
	}
	if bad != nil {
		return figure, bad
	}
	err = await(ctx, patience, "the last line in the log", func() (bool, error) { // the app has written it: it may still be in its pipe
		out, err := h.run(ctx, "gantry", "logs", "--app=app", "--tail=1", i.name)
		if err == nil && !strings.Contains(out, fmt.Sprintf("storm %d of", l.lines-1)) {
			err = fmt.Errorf("the last line is %q", out)
		}
		return err == nil, err
	})
	if err != nil {
		return figure, err
	}
	out, err := h.sh(ctx, "du -sk /var/lib/gantry/pods/$(cat /run/gantry/pod@"+i.name+".uuid)/logs")
	if err != nil {
		return figure, err
	}
	var kB int
	if _, err := fmt.Sscan(out, &kB); err != nil {
		return figure, fmt.Errorf("read size of logs: %w", err)
	}
	if kB > logBound {
		return figure, fmt.Errorf("the pod's logs are %d kB on disk", kB)
	}
	return fmt.Sprintf("%.0f lines a second, %d kB of log kept, the last line there; meanwhile %s", float64(l.lines)/took.Seconds(), kB, figure), nil
}

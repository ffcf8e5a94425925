package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// coldStorm starts every unit at once, with nothing in any store, and waits until all pods are ready and announced.
func coldStorm(ctx context.Context, l *lab) (string, error) {
	err := l.each(func(h *host) error {
		var dirs []string
		for _, i := range h.instances {
			text, err := os.ReadFile(filepath.Join(l.output("1"), h.name, i.name+".env"))
			if err != nil {
				return err
			}
			if err := h.write("/etc/gantry/fleet/"+i.name+".env", string(text)); err != nil {
				return err
			}
			dirs = append(dirs, "/data/"+i.name+"/data", "/data/"+i.name+"/log")
		}
		_, err := h.sh(ctx, "mkdir -p "+strings.Join(dirs, " ")+"; systemctl enable --quiet "+strings.Join(h.units(), " "))
		return err
	})
	if err != nil {
		return "", err
	}
	return l.storm(ctx, l.cold)
}

func warmStorm(ctx context.Context, l *lab) (string, error) { return l.storm(ctx, l.warm) }

// storm starts all units, and wants them ready within a time.
func (l *lab) storm(ctx context.Context, limit time.Duration) (string, error) {
	start := time.Now()
	err := l.each(func(h *host) error {
		_, err := h.run(ctx, append([]string{"systemctl", "start"}, h.units()...)...)
		if err != nil {
			text, _ := h.sh(ctx, "journalctl --no-pager -n 60 -o cat")
			return fmt.Errorf("%w\n%s", err, text)
		}
		return nil
	})
	took := time.Since(start)
	if err == nil {
		err = l.complete(ctx)
	}
	if err == nil && took > limit {
		err = fmt.Errorf("%.1f s, more than %.0f", took.Seconds(), limit.Seconds())
	}
	n := l.settings.hosts * l.pods
	return fmt.Sprintf("%d pods, %d apps ready after %.1f s", n, 5*n, took.Seconds()), err
}

// patience is for a machine that is slow and busy: what is to come, comes soon, and this is waited for only where it does not.
const patience = time.Minute

// complete waits until every instance is announced, at the address that it has in the table.
func (l *lab) complete(ctx context.Context) error {
	return await(ctx, patience, "all announcements", func() (bool, error) {
		there := l.discovery.announced()
		for _, i := range l.all() {
			if there[i.name] != i.address {
				return false, fmt.Errorf("%s is announced at %q, not at %s", i.name, there[i.name], i.address)
			}
		}
		return len(there) == len(l.all()), nil
	})
}

// state is what web says of itself.
type state struct {
	Instance, Release, Attributes string
	Starts, Bytes                 int
}

// ask asks an instance's app, through the network, at the instance's address.
func (i instance) ask(ctx context.Context) (s state, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+i.address+":8080/state", nil)
	if err != nil {
		return s, err
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return s, err
	}
	defer resp.Body.Close()
	return s, json.NewDecoder(resp.Body).Decode(&s)
}

// promises asks every app what it found.
func promises(ctx context.Context, l *lab) (string, error) {
	n := 0
	for _, i := range l.all() {
		s, err := i.ask(ctx)
		if err != nil {
			return "", err
		}
		if s.Instance != i.name || s.Attributes != attributesSum(i.service) || s.Release != "1" {
			return "", fmt.Errorf("%s at %s says of itself: %+v", i.name, i.address, s)
		}
		n = s.Bytes
	}
	return fmt.Sprintf("%d pods answer at their address, with %d bytes of attributes whole, two volumes written, one read-only", len(l.all()), n), nil
}

// longRequest is longer than the shortest drain.
const longRequest = 5 * time.Second

var drained = regexp.MustCompile(`drained after (\d+\.\d) s`)

// stopAll stops everything at once. Each announcer says in the journal how long it drained, and complains there if the app was
// gone before it.
//
// One app is in the middle of a request that takes longer than the shortest drain, and has to be let finish it.
func stopAll(ctx context.Context, l *lab) (string, error) {
	busy := l.all()[len(l.all())-1]
	answer := make(chan error, 1)
	go func() {
		said, err := fetch(ctx, fmt.Sprintf("http://%s:8080/?ms=%d", busy.address, longRequest.Milliseconds()))
		if err == nil && !strings.Contains(said, busy.name) {
			err = fmt.Errorf("it answered %q", said)
		}
		answer <- err
	}()
	err := await(ctx, 5*time.Second, "the long request", func() (bool, error) {
		said, err := fetch(ctx, "http://"+busy.address+":8080/active")
		return strings.TrimSpace(said) == "1", err
	})
	if err != nil {
		return "", err
	}
	start := time.Now()
	var mu sync.Mutex
	var all []float64
	err = l.each(func(h *host) error {
		if _, err := h.run(ctx, append([]string{"systemctl", "stop"}, h.units()...)...); err != nil {
			return err
		}
		text, err := h.run(ctx, "journalctl", "--no-pager", "-o", "cat", "GANTRY_APP=announce")
		if err != nil {
			return err
		}
		if strings.Contains(text, "gone before it was drained") {
			return fmt.Errorf("an app ended before its announcer: %s", text)
		}
		mu.Lock()
		defer mu.Unlock()
		for _, m := range drained.FindAllStringSubmatch(text, -1) {
			seconds, _ := strconv.ParseFloat(m[1], 64) // by the expression
			all = append(all, seconds)
		}
		return nil
	})
	took := time.Since(start)
	shortest, longest := 99.0, 0.0
	for _, s := range all {
		shortest, longest = min(shortest, s), max(longest, s)
	}
	if err == nil && (len(all) != len(l.all()) || shortest < 3) {
		err = fmt.Errorf("%d of %d pods drained, the shortest for %.1f s", len(all), len(l.all()), shortest)
	}
	if err == nil {
		if err = <-answer; err != nil {
			err = fmt.Errorf("the request that was under way: %w", err)
		}
	}
	return fmt.Sprintf("%d drains of %.1f to %.1f s, the longest with a request under way that was answered; all stopped after %.1f s", len(all), shortest, longest, took.Seconds()), err
}

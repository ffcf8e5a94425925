package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// client asks the edges for the service, at a constant rate: a request is sent when its time has come, whether the one before
// was answered or not. Each has a connection of its own.
type client struct {
	rate int // requests a second
	stop func()
	wait sync.WaitGroup
	mu   sync.Mutex
	took []time.Duration
	bad  []string
	by   map[string]int // answers by release
}

// ask starts a client.
func (l *lab) ask(ctx context.Context) *client {
	ctx, cancel := context.WithCancel(ctx)
	c := &client{rate: l.rate, stop: cancel, by: map[string]int{}}
	var edges []string
	for _, i := range l.all() {
		if i.service == "edge" {
			edges = append(edges, "http://"+i.address+":8000/")
		}
	}
	transport := &http.Transport{DisableKeepAlives: true}
	c.wait.Go(func() {
		tick := time.NewTicker(time.Second / time.Duration(l.rate))
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			c.wait.Go(func() { c.one(context.WithoutCancel(ctx), transport, edges[n%len(edges)]) })
		}
	})
	return c
}

func (c *client) one(ctx context.Context, transport http.RoundTripper, url string) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	start := time.Now()
	release, err := get(ctx, transport, url)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.bad = append(c.bad, fmt.Sprintf("%s: %v", start.Format("15:04:05.000"), err))
		return
	}
	c.took = append(c.took, time.Since(start))
	c.by[release]++
}

func get(ctx context.Context, transport http.RoundTripper, url string) (release string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	words := strings.Fields(string(body))
	if resp.StatusCode != http.StatusOK || len(words) != 2 {
		return "", fmt.Errorf("%s: %s: %.100q", url, resp.Status, body)
	}
	return words[1], nil
}

// finish ends the client, and returns what it saw; a failed request is an error.
func (c *client) finish() (string, error) {
	c.stop()
	c.wait.Wait()
	slices.Sort(c.took)
	if len(c.took) == 0 {
		return "no answers", fmt.Errorf("no request was answered: %v", c.bad)
	}
	figure := fmt.Sprintf("%d requests (%d a second), %d failed, median %.0f ms, 99%% within %.0f ms, all within %.0f ms", len(c.took)+len(c.bad), c.rate, len(c.bad),
		ms(c.took[len(c.took)/2]), ms(c.took[len(c.took)*99/100]), ms(c.took[len(c.took)-1]))
	if len(c.bad) > 0 {
		return figure, fmt.Errorf("failed requests: %s", strings.Join(c.bad[:min(len(c.bad), 5)], "; "))
	}
	return figure, nil
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// fetch gets a page that may take its time.
func fetch(ctx context.Context, url string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

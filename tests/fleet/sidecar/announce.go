package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

// The drain: at least this long, since who routes needs a while to hear of it, and no longer than that.
const (
	drainMin = 3 * time.Second
	drainMax = 60 * time.Second
)

// announce asks the app twice a second how it is, and says so to the discovery service, where the announcement ends by
// itself when it is not repeated. When it is to stop it withdraws first, and waits, while the app still serves, until nothing
// is under way. :65533/status is 503 as long as the app is not announced.
func announce(ctx context.Context) error {
	var up atomic.Bool
	go func() {
		_ = serve(context.WithoutCancel(ctx), ":65533", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if !up.Load() {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		}))
	}()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for ; ; <-tick.C {
		if ctx.Err() != nil {
			return drain(context.WithoutCancel(ctx))
		}
		healthy := ask(ctx, http.MethodGet, "http://127.0.0.1:8080/health", "") == nil
		method := http.MethodDelete
		if healthy {
			method = http.MethodPut
		}
		err := ask(context.WithoutCancel(ctx), method, announcement(), fmt.Sprintf(`{"address":%q,"port":8080}`, os.Getenv("IP")))
		up.Store(healthy && err == nil)
	}
}

func drain(ctx context.Context) error {
	start := time.Now()
	if err := ask(ctx, http.MethodDelete, announcement(), ""); err != nil {
		fmt.Fprintf(os.Stderr, "withdraw: %v\n", err)
	}
	for {
		time.Sleep(100 * time.Millisecond)
		waited := time.Since(start)
		if waited > drainMax || waited > drainMin && idle(ctx) {
			fmt.Printf("drained after %.1f s\n", waited.Seconds())
			return nil
		}
	}
}

// idle says whether the app, which must still be serving, has nothing under way.
func idle(ctx context.Context) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:8080/active", nil)
	if err != nil {
		return false
	}
	resp, err := client.Do(req)
	if err != nil {
		fmt.Fprintf(os.Stderr, "the app was gone before it was drained: %v\n", err)
		return true
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return err == nil && strings.TrimSpace(string(body)) == "0"
}

var client = &http.Client{Timeout: 5 * time.Second}

func announcement() string {
	return os.Getenv("DISCOVERY") + "/services/" + service() + "/" + instance()
}

func ask(ctx context.Context, method, url, body string) error {
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	if resp.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s", method, url, resp.Status)
	}
	return nil
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// slots is how many instances of a service HAProxy can be told of.
const slots = 64

// haproxy's configuration: every pod reaches the service at port 8000 of its own loopback, and others reach it there too.
const haproxy = `global
  stats socket /shared/haproxy.sock mode 666 level admin
  maxconn 2000
defaults
  mode http
  timeout connect 2s
  timeout client 30s
  timeout server 30s
  option redispatch
  retries 3
  retry-on conn-failure empty-response
frontend in
  bind :8000
  default_backend out
backend out
  balance roundrobin
  server-template s 1-%d 127.0.0.1:1 disabled
`

// route writes HAProxy's configuration, says that it may start, and then tells it of every change, through its socket: a
// reload would cost connections.
func route(ctx context.Context) error {
	if err := os.WriteFile("/shared/haproxy.cfg", fmt.Appendf(nil, haproxy, slots), 0o644); err != nil {
		return err
	}
	if err := notify("READY=1"); err != nil {
		return err
	}
	known := make([]string, slots) // the address in each slot; empty: none
	for index := 0; ctx.Err() == nil; {
		next, addresses, err := watch(ctx, index)
		if err == nil {
			err = tell(changes(known, addresses))
		}
		if err != nil {
			if ctx.Err() == nil {
				fmt.Fprintf(os.Stderr, "%v\n", err)
			}
			index = 0
			clear(known) // HAProxy may not be up yet, or be another: tell it everything
			sleep(ctx, 200*time.Millisecond)
			continue
		}
		index = next
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// watch asks for the instances of web, and is answered as soon as they are others than at index.
func watch(ctx context.Context, index int) (int, map[string]bool, error) {
	url := fmt.Sprintf("%s/services/web?index=%d", os.Getenv("DISCOVERY"), index)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	var answer struct {
		Index     int
		Instances map[string]struct {
			Address string
			Port    int
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return 0, nil, err
	}
	addresses := map[string]bool{}
	for _, i := range answer.Instances {
		addresses[fmt.Sprintf("%s port %d", i.Address, i.Port)] = true
	}
	return answer.Index, addresses, nil
}

// changes brings known to what is wanted, and returns what HAProxy has to be told for it. All slots are told when none is
// known: an old one may be up.
func changes(known []string, want map[string]bool) string {
	var out strings.Builder
	fresh := strings.Join(known, "") == ""
	for i, a := range known {
		if a != "" && !want[a] || a == "" && fresh {
			fmt.Fprintf(&out, "set server out/s%d state maint;", i+1)
			known[i] = ""
		}
		delete(want, a)
	}
	for a := range want {
		for i := range known {
			if known[i] == "" {
				known[i] = a
				fmt.Fprintf(&out, "set server out/s%d addr %s;set server out/s%d state ready;", i+1, a, i+1)
				break
			}
		}
	}
	return out.String()
}

// tell hands commands to HAProxy, which answers to each with a line, and to most with an empty one.
func tell(commands string) error {
	if commands == "" {
		return nil
	}
	conn, err := net.DialTimeout("unix", "/shared/haproxy.sock", time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.WriteString(conn, commands+"\n"); err != nil {
		return err
	}
	said, err := io.ReadAll(conn)
	if err == nil && strings.Contains(string(said), "No such") {
		err = errors.New(strings.TrimSpace(string(said)))
	}
	return err
}

// notify is sd_notify(3).
func notify(state string) error {
	conn, err := net.Dial("unixgram", os.Getenv("NOTIFY_SOCKET"))
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = io.WriteString(conn, state)
	return err
}

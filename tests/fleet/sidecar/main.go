// Command sidecar is what the fleet's pods run: the app, and beside it what announces it, what routes to others, and
// what counts. One static program, so that five apps of 42 pods are one layer.
//
//	web       an HTTP service that says who it is, and serves until it is told to stop
//	announce  in the manner of nerve: says to the discovery service that the app is there, and takes it out before it stops
//	route     in the manner of synapse: keeps the pod's HAProxy up to date with who announces
//	export    numbers for a collector
//
// It knows its pod's name and service from the environment, and the discovery service's address. It never writes but
// into the pod's volumes.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	jobs := map[string]func(context.Context) error{
		"web": web, "announce": announce, "route": route, "export": export,
		"once": func(context.Context) error { return nil }, // an app that has nothing to do
	}
	if len(os.Args) < 2 || jobs[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: sidecar web|announce|route|export")
		os.Exit(2)
	}
	if err := jobs[os.Args[1]](ctx); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
}

// serve answers on addr until ctx ends, and then lets what is under way come to its end.
func serve(ctx context.Context, addr string, handler http.Handler) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return errors.Join(server.Shutdown(last))
}

// instance, service: who this pod is.
func instance() string { return os.Getenv("INSTANCE") }
func service() string  { return os.Getenv("SERVICE") }

// export is a page of numbers, as a collector asks for it.
func export(ctx context.Context) error {
	start := time.Now()
	return serve(ctx, ":9100", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "pod_up_seconds{instance=%q} %.0f\n", instance(), time.Since(start).Seconds())
	}))
}

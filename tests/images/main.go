// Command images builds the real images that tests and benchmarks run: busybox, Debian minbase and, on top of
// it, nginx, redis, python, postgres and a large one, from Debian packages. Each gets a gzip and a zstd tag.
//
//	go run ./tests/images [-cache DIR] small|all|NAME...
//
// They land in the cache, outside the work tree, as OCI layouts (oci/NAME) and in the storage of a registry
// (registry/), which tests serve on 127.0.0.1. What is there already, made by the same recipe, is kept. It needs
// root, mmdebstrap, docker-registry and a Debian mirror.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/tests/testimages"
)

func main() {
	cache := flag.String("cache", testimages.Cache(), "directory of the built images")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	if err := run(ctx, *cache, flag.Args()); err != nil {
		fmt.Fprintf(os.Stderr, "images: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, cache string, names []string) error {
	if len(names) == 0 {
		return fmt.Errorf("which images: small, all, or names")
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return err
	}
	lock, err := os.OpenFile(filepath.Join(cache, ".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", cache, err)
	}
	b := builder{dir: cache}
	for _, r := range recipes {
		small := slices.Contains(names, "small") && r.Small
		if !small && !slices.Contains(names, "all") && !slices.Contains(names, r.Name) {
			continue
		}
		start := time.Now()
		built, err := b.build(ctx, r)
		if err != nil {
			return fmt.Errorf("build %s: %w", r.Name, err)
		}
		if built {
			fmt.Printf("images: %s in %.0f s\n", r.Name, time.Since(start).Seconds())
		}
	}
	return nil
}

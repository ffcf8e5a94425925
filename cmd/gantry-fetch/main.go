// gantry-fetch brings images in and reads keys, for gantry, which hands it one order and waits for it (package order). All that
// speaks to registries, unpacks foreign archives and checks signatures is linked here and nowhere else.
//
// It prints nothing and takes no flags: what the user sees is gantry's.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/klauspost/pgzip"

	"github.com/gantryrun/gantry/image"
	"github.com/gantryrun/gantry/image/fetch"
	"github.com/gantryrun/gantry/image/order"
	"github.com/gantryrun/gantry/image/signature"
	"github.com/gantryrun/gantry/image/trust"
)

func main() {
	debug.SetGCPercent(400)
	// Windows of zstd are garbage 8 MB at a time. It is no bound: what a fetch really needs, it gets.
	debug.SetMemoryLimit(52 << 20)
	// A terminal, or systemd, tells both of us that it is over. It is gantry that decides what follows, and says so: nobody reads these.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	if err := order.Serve(serve); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", order.Program, err)
		os.Exit(254)
	}
}

func serve(ctx context.Context, o *order.Order, say func(order.Event)) (order.Result, error) {
	if o.Keys != nil {
		keys, err := readKeys(o.Keys)
		return order.Result{Keys: keys}, err
	}
	c, err := client(o)
	if err != nil {
		return order.Result{}, err
	}
	c.Progress = say
	switch {
	case o.Fetch != nil:
		_, err = c.Fetch(ctx, o.Fetch.Ref, o.Fetch.Options)
	case o.Repair != nil:
		err = onStored(ctx, c, o.Repair.Ref, func(img *image.Image) error { return c.Repair(ctx, img, o.Repair.Problems) })
	case o.Export != nil:
		err = onStored(ctx, c, o.Export.Ref, func(img *image.Image) error { return c.Store.Export(ctx, img, os.Stdout, gzip) })
	}
	return order.Result{}, err
}

// client is one as the order wants it.
func client(o *order.Order) (*fetch.Client, error) {
	c := &fetch.Client{InsecureHTTP: o.InsecureHTTP, InsecureTLS: o.InsecureTLS, ConfigDirs: o.ConfigDirs}
	var err error
	if !o.InsecureImage {
		if c.Trust, err = trust.Load(o.ConfigDirs); err != nil {
			return nil, err
		}
	}
	c.Store, err = image.Open(o.Dir, image.Options{Backend: o.Backend})
	return c, err
}

// onStored does something with an image that is in the store.
func onStored(ctx context.Context, c *fetch.Client, ref image.Ref, do func(*image.Image) error) error {
	img, err := c.Store.Get(ctx, ref)
	if err != nil {
		return err
	}
	return do(img)
}

func gzip(w io.Writer) io.WriteCloser { return pgzip.NewWriter(w) }

func readKeys(files []order.Key) ([]trust.Key, error) {
	var keys []trust.Key
	for _, f := range files {
		key, err := signature.ParseKey(f.Data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.File, err)
		}
		keys = append(keys, key.Key)
	}
	return keys, nil
}

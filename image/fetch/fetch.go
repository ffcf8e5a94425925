// Package fetch brings images into the store: from registries, OCI layouts and archives.
//
// It knows HTTP, the distribution protocol and the forms in which images travel. It is the only package with
// net/http. It never trusts a byte whose digest and size it has not checked, never follows a URL that an image names,
// and never sends credentials to a host that they are not for.
//
// Invariant: Fetch either commits a whole verified image, or leaves nothing but whole layers and unlocked staging,
// which GC sweeps.
package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/gantryrun/gantry/image"
	"github.com/gantryrun/gantry/image/order"
	"github.com/gantryrun/gantry/image/trust"
)

// Client fetches into Store. The zero value of everything else is the default. It may be used by several goroutines.
type Client struct {
	Store *image.Store
	// InsecureHTTP and InsecureTLS are --insecure-options=http and tls: plain http where https is refused, and
	// certificates unchecked, for every registry. Registries on loopback may always speak plain http.
	InsecureHTTP, InsecureTLS bool
	// ConfigDirs are searched for registries.d and auth.d; later ones override earlier ones.
	ConfigDirs []string
	// Trust is asked whether what was found may be used; nil lets everything pass by its digests.
	Trust *trust.Policy
	// Progress, if set, is called as bytes arrive, from several goroutines.
	Progress func(order.Event)
	// Limits on compressed data.
	Limits Limits
	// Stall is how long a registry may send nothing: 60 s.
	Stall time.Duration

	backoff time.Duration
}

func (c *Client) event(e order.Event) {
	if c.Progress != nil {
		c.Progress(e)
	}
}

// Fetch fetches, verifies and stores the image that ref names, and gives it that name. What the store has already is
// not fetched again. It is idempotent. Errors that callers branch on are package image's, appc's and trust's, and the
// kernel's own (ENOSPC).
func (c *Client) Fetch(ctx context.Context, ref image.Ref, opts order.Options) (*image.Image, error) {
	want, err := parsePlatform(opts.Platform)
	if err != nil {
		return nil, err
	}
	name := ref
	if opts.Name != (image.Ref{}) {
		name = opts.Name
	}
	if err := c.admit(name); err != nil {
		return nil, fmt.Errorf("fetch %s: %w", name, err)
	}
	c.event(order.Event{Status: "resolving"})
	var img *image.Image
	stamp := image.Stamp(ref) // before it is read: a change meanwhile is seen later
	err = c.withSource(ctx, ref, &appcFetch{Client: c, opts: opts, platform: want}, func(src source, from string) error {
		r, err := c.resolve(ctx, src, want)
		if err != nil {
			return err
		}
		evidence, err := c.verify(ctx, src, name, r, opts)
		if err != nil {
			return err
		}
		j := &job{Client: c, src: src, img: r, opts: opts, draft: image.Draft{
			Manifest: r.doc.raw, Config: r.config, Name: name.String(), Source: from,
			Verified: evidence.String(), Evidence: evidence, AllowRollback: opts.AllowRollback,
		}}
		if a, ok := src.(*appcImage); ok {
			j.draft.Caching = a.caching
		}
		if name == ref {
			j.draft.Caching.Stamp = stamp
		}
		if moves(name) {
			j.draft.Root = r.root
		}
		img, err = j.complete(ctx)
		return err
	})
	if errors.Is(err, errUnchanged) {
		return c.Store.Get(ctx, ref)
	}
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", ref, err)
	}
	return img, nil
}

// job is an image that was found, on its way into the store.
type job struct {
	*Client
	src   source
	img   *resolved
	opts  order.Options
	draft image.Draft

	mu    sync.Mutex
	fresh []digest.Digest // layers that this job brought in
	room  room
}

// complete fetches the layers and commits the image. When that fails for a reason that another try will meet again,
// what came in so far goes; else layers are kept for the next try, until GC's grace is over.
func (j *job) complete(ctx context.Context) (*image.Image, error) {
	img, err := j.layersAndCommit(ctx)
	if err == nil || ctx.Err() != nil || passing(err) {
		return img, err
	}
	if drop := j.Store.Discard(ctx, j.draft, j.fresh); drop != nil {
		err = fmt.Errorf("%w (and %w)", err, drop)
	}
	return nil, j.full(err)
}

// passing says that err came from the way to the registry, and not from what was fetched or from here.
func passing(err error) bool {
	var broken *decodeError
	return errors.Is(err, image.ErrUnreachable) || errors.Is(err, image.ErrStalled) ||
		(errors.Is(err, io.ErrUnexpectedEOF) && !errors.As(err, &broken))
}

// maxRounds of fetching layers that a GC took away between two looks.
const maxRounds = 3

func (j *job) layersAndCommit(ctx context.Context) (*image.Image, error) {
	for round := 1; ; round++ {
		if err := j.fetchLayers(ctx); err != nil {
			return nil, err
		}
		j.event(order.Event{Status: "committing"})
		img, err := j.Store.Commit(ctx, j.draft)
		if !errors.Is(err, image.ErrLayersMissing) || round == maxRounds {
			return img, err
		}
	}
}

// withSource opens what ref points to and calls use; for a registry with mirrors, until one of them serves.
func (c *Client) withSource(ctx context.Context, ref image.Ref, converter *appcFetch, use func(src source, from string) error) error {
	switch ref.Kind {
	case image.Registry:
		return c.withRegistry(ctx, ref, use)
	case image.OCILayout, image.OCIArchive, image.DockerArchive, image.File:
		if f, ok := openAppcFile(ref); ok {
			defer f.Close()
			return converter.withLocalAppc(ctx, f, func(src source) error { return use(src, ref.String()) })
		}
		src, err := openLocal(ref)
		if err != nil {
			return err
		}
		defer src.close()
		return use(src, ref.String())
	case image.ACI:
		return converter.withRemoteAppc(ctx, ref, func(src source) error { return use(src, ref.Name) })
	default:
		return fmt.Errorf("%w: an image ID names what is in the store already", image.ErrNotFound)
	}
}

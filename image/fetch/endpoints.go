package fetch

import (
	"context"
	"fmt"

	"github.com/gantryrun/gantry/image"
)

// withRegistry calls use with each endpoint that serves ref, mirrors first, until one succeeds. What the registry
// itself says is the error of all.
func (c *Client) withRegistry(ctx context.Context, ref image.Ref, use func(src source, from string) error) error {
	endpoints, err := c.endpoints(ref)
	if err != nil {
		return err
	}
	var mirrors []error
	for _, e := range endpoints {
		err := c.withEndpoint(ctx, e, ref, use)
		if err == nil || ctx.Err() != nil {
			return err
		}
		if !e.mirror {
			return withMirrors(err, mirrors)
		}
		mirrors = append(mirrors, fmt.Errorf("mirror %s: %w", e.host, err))
	}
	return withMirrors(nil, mirrors)
}

// withMirrors makes one line of what the registry said and, before it, its mirrors.
func withMirrors(err error, mirrors []error) error {
	for _, m := range mirrors {
		if err == nil {
			err = m
			continue
		}
		err = fmt.Errorf("%w (%w)", err, m)
	}
	return err
}

func (c *Client) withEndpoint(ctx context.Context, e endpoint, ref image.Ref, use func(src source, from string) error) error {
	auth, err := c.credentials(ctx, e)
	if err != nil {
		return err
	}
	src, err := dial(ctx, e, ref, auth, c.pace())
	if err != nil {
		return err
	}
	defer src.close() // drops idle connections, cannot fail
	return use(src, e.host+"/"+e.repository)
}

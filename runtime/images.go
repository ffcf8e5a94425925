package runtime

import (
	"context"
	"errors"
	"fmt"

	"github.com/gantryrun/gantry/image"
)

// usedImage is an image that a pod is being made from, and where its tree is.
type usedImage struct {
	*image.Image
	name  string // as asked for, normalised
	lower []string
}

// holdImages gets the image of every app, fetching what is missing, and makes their trees available. Until release is called, gc
// takes none of them away.
func (r *Runtime) holdImages(ctx context.Context, req *Request) (images []*usedImage, release func(), err error) {
	if err := r.fetchImages(ctx, req); err != nil {
		return nil, nil, err
	}
	release, err = r.Store.Hold()
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			release()
		}
	}()
	seen := map[image.Ref]*usedImage{}
	for _, app := range req.Apps {
		used := seen[app.Image]
		if used == nil {
			if used, err = r.useImage(ctx, app.Image); err != nil {
				return nil, nil, err
			}
			seen[app.Image] = used
		}
		images = append(images, used)
	}
	return images, release, nil
}

func (r *Runtime) useImage(ctx context.Context, ref image.Ref) (*usedImage, error) {
	img, err := r.Store.Get(ctx, ref)
	if err != nil {
		return nil, err
	}
	lower, err := r.Store.Lower(ctx, img)
	if err != nil {
		return nil, err
	}
	return &usedImage{Image: img, name: ref.String(), lower: lower}, nil
}

// fetchImages fetches what the pull policy wants fetched. It holds nothing meanwhile: a slow registry must not keep gc waiting.
func (r *Runtime) fetchImages(ctx context.Context, req *Request) error {
	seen := map[image.Ref]bool{}
	for _, app := range req.Apps {
		ref := app.Image
		if seen[ref] {
			continue
		}
		seen[ref] = true
		if err := r.fetchImage(ctx, ref, req.Pull); err != nil {
			return err
		}
	}
	return nil
}

func (r *Runtime) fetchImage(ctx context.Context, ref image.Ref, policy PullPolicy) error {
	if policy != PullUpdate || ref.Kind == image.ID {
		_, err := r.Store.Get(ctx, ref)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, image.ErrNotFound), ref.Kind == image.ID:
			return err
		case policy == PullNever:
			return fmt.Errorf("%w, and --pull-policy=never forbids to fetch it", err)
		}
	}
	if r.Fetch == nil {
		return fmt.Errorf("%w: %s", image.ErrNotFound, ref)
	}
	_, err := r.Fetch(ctx, ref)
	return err
}

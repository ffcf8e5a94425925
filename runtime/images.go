package runtime

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/gantryrun/gantry/image"
)

// usedImage is an image that a pod is being made from, and where its tree is.
type usedImage struct {
	*image.Image
	name  string // as asked for, normalised
	lower []string

	copied bool // into the pod
}

// holdImages gets the image of every app, fetching what is missing, and makes their trees available. Until release is called, gc
// takes none of them away.
func (r *Runtime) holdImages(ctx context.Context, req *Request) (images []*usedImage, release func(), err error) {
	refs, signatures, err := req.images()
	if err != nil {
		return nil, nil, err
	}
	if req.Pull == PullUpdate || len(signatures) > 0 && req.Pull != PullNever {
		if err := r.fetchImages(ctx, refs, signatures, req.Pull); err != nil {
			return nil, nil, err
		}
	}
	used, release, err := r.holdStored(ctx, refs, req.Pull != PullNever && req.Pull != PullUpdate)
	if errors.Is(err, image.ErrNotFound) && req.Pull != PullUpdate {
		// Nothing is held while fetching: a slow registry must not keep gc waiting.
		if err := r.fetchImages(ctx, refs, signatures, req.Pull); err != nil {
			return nil, nil, err
		}
		used, release, err = r.holdStored(ctx, refs, false)
	}
	if err != nil {
		return nil, nil, err
	}
	for _, app := range req.Apps {
		images = append(images, used[app.Image])
	}
	return images, release, nil
}

// images are the images of the apps, each once, and the signatures that come with them.
func (req *Request) images() ([]image.Ref, map[image.Ref]string, error) {
	var refs []image.Ref
	seen, signatures := map[image.Ref]bool{}, map[image.Ref]string{}
	for _, app := range req.Apps {
		if !seen[app.Image] {
			seen[app.Image] = true
			refs = append(refs, app.Image)
		}
		if app.Signature == "" {
			continue
		}
		if before := signatures[app.Image]; before != "" && before != app.Signature {
			return nil, nil, requestErrorf("image %s comes with two signatures", app.Image)
		}
		signatures[app.Image] = app.Signature
	}
	return refs, signatures, nil
}

// holdStored gets images that are all in the store, and fresh: from files that have not changed since.
func (r *Runtime) holdStored(ctx context.Context, refs []image.Ref, fresh bool) (used map[image.Ref]*usedImage, release func(), err error) {
	release, err = r.Store.Hold()
	if err != nil {
		return nil, nil, err
	}
	used = map[image.Ref]*usedImage{}
	for _, ref := range refs {
		if used[ref], err = r.useImage(ctx, ref, fresh); err != nil {
			release()
			return nil, nil, err
		}
	}
	return used, release, nil
}

func (r *Runtime) useImage(ctx context.Context, ref image.Ref, fresh bool) (*usedImage, error) {
	img, err := r.Store.Get(ctx, ref)
	if err == nil && fresh && img.Outdated(ref) {
		err = fmt.Errorf("%w as it is now: %s", image.ErrNotFound, ref)
	}
	if err == nil && r.Trust != nil {
		err = r.Trust(ctx, ref, img)
	}
	if err != nil {
		return nil, err
	}
	lower, err := r.Store.Lower(ctx, img)
	if err != nil {
		return nil, err
	}
	return &usedImage{Image: img, name: ref.String(), lower: lower}, nil
}

// fetchLimit is how many images come at a time; each fetches several layers at a time.
const fetchLimit = 4

// fetchImages fetches what the pull policy wants fetched, and stops at the first that cannot be had.
func (r *Runtime) fetchImages(ctx context.Context, refs []image.Ref, signatures map[image.Ref]string, policy PullPolicy) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(fetchLimit)
	for _, ref := range refs {
		group.Go(func() error { return r.fetchImage(ctx, ref, signatures[ref], policy) })
	}
	return group.Wait()
}

// fetchImage: what comes with a signature is fetched again, so that this is what counts.
func (r *Runtime) fetchImage(ctx context.Context, ref image.Ref, signature string, policy PullPolicy) error {
	if policy == PullNever || policy != PullUpdate && signature == "" || ref.Kind == image.ID {
		img, err := r.Store.Get(ctx, ref)
		switch {
		case err == nil && policy != PullNever && img.Outdated(ref): // fetched below
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
	return r.Fetch(ctx, ref, signature)
}

package fetch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantryrun/gantry/image"
	"github.com/gantryrun/gantry/image/order"
	"github.com/gantryrun/gantry/image/signature"
	"github.com/gantryrun/gantry/image/trust"
)

// admit refuses what no signature could make acceptable, before anybody is asked for anything.
func (c *Client) admit(ref image.Ref) error {
	if c.Trust == nil {
		return nil
	}
	name, err := trust.NameOf(ref)
	if err != nil {
		return fmt.Errorf("%w: %w", trust.ErrUntrusted, err)
	}
	return c.Trust.For(name).Refusal(name)
}

// verify checks what a reference led to: that a tag did not go back, and what the trust policy wants of the name.
func (c *Client) verify(ctx context.Context, src source, ref image.Ref, r *resolved, opts order.Options) (image.Evidence, error) {
	if moves(ref) && !opts.AllowRollback {
		if err := c.Store.Rollback(ref.String(), r.root); err != nil {
			return image.Evidence{}, err
		}
	}
	a, isAppc := src.(*appcImage)
	if isAppc && opts.Name == (image.Ref{}) {
		return a.evidence, nil // it was verified before it was converted
	}
	if c.Trust == nil {
		return image.Evidence{}, nil
	}
	name, err := trust.NameOf(ref)
	if err != nil {
		return image.Evidence{}, fmt.Errorf("%w: %w", trust.ErrUntrusted, err)
	}
	digests := []digest.Digest{r.root}
	if r.doc.digest != r.root {
		digests = append(digests, r.doc.digest)
	}
	repo, ok := src.(*repository)
	if !ok {
		e, err := signature.Verify(ctx, c.Trust, unsigned{}, name, digests...)
		if isAppc {
			e.Archive = a.evidence.Archive
		}
		return e, err
	}
	return signature.Verify(ctx, c.Trust, signatures{repo}, name, digests...)
}

// moves says whether what ref leads to is somebody else's to change.
func moves(ref image.Ref) bool { return ref.Kind == image.Registry && ref.Digest == "" }

// signatures is a repository as package trust sees it.
type signatures struct{ repo *repository }

func (s signatures) Manifest(ctx context.Context, id string) ([]byte, error) {
	raw, _, err := s.repo.getManifest(ctx, id)
	return raw, err
}

func (s signatures) Blob(ctx context.Context, desc ocispec.Descriptor, limit int64) ([]byte, error) {
	return readBlob(ctx, s.repo, desc, limit)
}

// Referrers asks the registry's own list (distribution-spec 1.1, "Listing Referrers"), and where it has none, the tag
// that stands in for it.
func (s signatures) Referrers(ctx context.Context, subject digest.Digest) ([]ocispec.Descriptor, error) {
	raw, _, err := s.repo.get(ctx, "referrers", subject.String(), ocispec.MediaTypeImageIndex)
	if errors.Is(err, image.ErrNotFound) {
		raw, err = s.Manifest(ctx, subject.Algorithm().String()+"-"+subject.Encoded())
	}
	if errors.Is(err, image.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var index ocispec.Index
	if err := json.Unmarshal(raw, &index); err != nil {
		return nil, fmt.Errorf("%w: referrers: %w", image.ErrManifest, err)
	}
	return index.Manifests, nil
}

// unsigned is where no signatures are: beside an archive or a layout on this machine.
type unsigned struct{}

func (unsigned) Manifest(context.Context, string) ([]byte, error) { return nil, image.ErrNotFound }
func (unsigned) Referrers(context.Context, digest.Digest) ([]ocispec.Descriptor, error) {
	return nil, nil
}
func (unsigned) Blob(context.Context, ocispec.Descriptor, int64) ([]byte, error) {
	return nil, image.ErrNotFound
}

package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantryrun/gantry/image"
)

// Repair puts right what Store.Verify found of img: see image.Store.Repair. What has to come from outside is asked for by
// digest where the image's names say that it came from, one name after the other. Nothing of trust is asked anew but
// whether a name may be used at all: the bytes are those that were trusted, or are refused.
func (c *Client) Repair(ctx context.Context, img *image.Image, problems []image.Problem) error {
	return c.Store.Repair(ctx, img, problems, &origin{c, img})
}

// origin is where an image came from, by its names.
type origin struct {
	*Client
	img *image.Image
}

// each opens the places that the image's names stand for until use has what it wants.
func (o *origin) each(ctx context.Context, use func(src source) error) error {
	var errs error
	for _, name := range o.img.Names {
		ref, err := image.ParseRef(name)
		if err == nil {
			err = o.admit(ref)
		}
		if err == nil {
			err = o.open(ctx, ref, use)
		}
		if err == nil {
			return nil
		}
		errs = errors.Join(errs, fmt.Errorf("fetch %s again: %w", name, err))
	}
	if errs == nil {
		errs = fmt.Errorf("%w: the image has no name, so nobody knows where it came from", image.ErrNotFound)
	}
	return errs
}

func (o *origin) open(ctx context.Context, ref image.Ref, use func(src source) error) error {
	switch ref.Kind {
	case image.Registry:
		ref.Tag, ref.Digest = "", o.img.ID // the tag may lead elsewhere by now
		return o.withRegistry(ctx, ref, func(src source, _ string) error { return use(src) })
	case image.OCILayout, image.OCIArchive, image.DockerArchive, image.File:
		src, err := openLocal(ref)
		if err != nil {
			return err
		}
		defer src.close()
		return use(src)
	default:
		return fmt.Errorf("%w: a part of an appc image: remove the image and fetch it again", image.ErrUnsupported)
	}
}

func (o *origin) Document(ctx context.Context, d digest.Digest) (data []byte, err error) {
	err = o.each(ctx, func(src source) (err error) {
		if d != o.img.ID {
			data, err = readBlob(ctx, src, o.img.Manifest.Config, maxConfig)
			return err
		}
		if data, _, err = src.root(ctx); err == nil && digest.FromBytes(data) == d {
			return nil
		}
		data, _, err = src.manifest(ctx, ocispec.Descriptor{MediaType: o.img.Manifest.MediaType, Digest: d})
		if err == nil && digest.FromBytes(data) != d {
			err = fmt.Errorf("%w: manifest has digest %s, expected %s", image.ErrVerify, digest.FromBytes(data), d)
		}
		return err
	})
	return data, err
}

// Layer comes from the blob as it was kept, if that is there and whole, else from outside.
func (o *origin) Layer(ctx context.Context, desc ocispec.Descriptor, take func(tar io.Reader) error) error {
	if kept, err := o.Store.OpenBlob(desc.Digest); err == nil {
		err = transfer{desc: desc, fill: take}.unpack(kept)
		kept.Close()
		if err == nil {
			return nil
		}
	}
	return o.blob(ctx, desc, func(r io.Reader) error { return transfer{desc: desc, fill: take}.unpack(r) })
}

func (o *origin) Blob(ctx context.Context, desc ocispec.Descriptor, take func(r io.Reader) error) error {
	return o.blob(ctx, desc, func(r io.Reader) error { return take(newVerifiedReader(r, desc)) })
}

func (o *origin) blob(ctx context.Context, desc ocispec.Descriptor, take func(r io.Reader) error) error {
	return o.each(ctx, func(src source) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel() // lets a goroutine go that still reads after an error
		body, err := src.blob(ctx, desc)
		if err != nil {
			return err
		}
		defer body.Close()
		return take(o.counted(body, desc))
	})
}

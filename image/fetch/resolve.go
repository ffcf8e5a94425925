package fetch

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantryrun/gantry/image"
)

// source is where an image comes from: one repository of a registry, a layout, an archive.
type source interface {
	// root returns the manifest or index that the reference names, and what the source calls its media type. It is
	// verified if the reference holds a digest.
	root(ctx context.Context) (raw []byte, mediaType string, err error)
	// manifest returns the bytes of a manifest or index by descriptor, unverified but bounded.
	manifest(ctx context.Context, desc ocispec.Descriptor) (raw []byte, mediaType string, err error)
	// blob opens a config or layer by descriptor, unverified.
	blob(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error)
	// close gives back what the source holds.
	close() error
}

// maxIndexDepth of indexes within indexes. Real images have one level.
const maxIndexDepth = 4

// resolved is an image that is ready to have its layers fetched.
type resolved struct {
	root    digest.Digest // what the reference led to: an index, or the manifest itself
	doc     *document
	config  []byte
	diffIDs []digest.Digest
}

// resolve follows src from its root to the image for the wanted platform, and reads its config. What the store has
// already is not asked for again.
func (c *Client) resolve(ctx context.Context, src source, want ocispec.Platform) (*resolved, error) {
	raw, mediaType, err := src.root(ctx)
	if err != nil {
		return nil, err
	}
	doc, err := parseDocument(raw, mediaType)
	if err != nil {
		return nil, err
	}
	root := doc.digest
	for depth := 0; doc.index != nil; depth++ {
		if depth == maxIndexDepth {
			return nil, fmt.Errorf("%w: indexes nested deeper than %d", image.ErrManifest, maxIndexDepth)
		}
		desc, err := choose(doc.index, want)
		if err != nil {
			return nil, err
		}
		if doc, err = c.readDocument(ctx, src, desc); err != nil {
			return nil, err
		}
	}
	r, err := c.readConfig(ctx, src, doc, want)
	if err != nil {
		return nil, err
	}
	r.root = root
	return r, nil
}

func (c *Client) readDocument(ctx context.Context, src source, desc ocispec.Descriptor) (*document, error) {
	if err := checkDescriptor(desc); err != nil {
		return nil, fmt.Errorf("%w: %w", image.ErrManifest, err)
	}
	raw, err := c.Store.Blob(desc.Digest)
	mediaType := desc.MediaType
	if err != nil {
		if raw, mediaType, err = src.manifest(ctx, desc); err != nil {
			return nil, err
		}
	}
	if err := checkBytes(raw, desc); err != nil {
		return nil, err
	}
	return parseDocument(raw, mediaType)
}

// checkBytes verifies what was read whole.
func checkBytes(raw []byte, desc ocispec.Descriptor) error {
	if int64(len(raw)) != desc.Size {
		return fmt.Errorf("%w: %s has %d bytes, %d expected", image.ErrVerify, desc.Digest, len(raw), desc.Size)
	}
	if got := digest.FromBytes(raw); got != desc.Digest {
		return fmt.Errorf("%w: digest is %s, expected %s", image.ErrVerify, got, desc.Digest)
	}
	return nil
}

func (c *Client) readConfig(ctx context.Context, src source, doc *document, want ocispec.Platform) (*resolved, error) {
	desc := doc.manifest.Config
	raw, err := c.Store.Blob(desc.Digest)
	if err != nil {
		if raw, err = readBlob(ctx, src, desc, maxConfig); err != nil {
			return nil, fmt.Errorf("config of image %s: %w", doc.digest, err)
		}
	}
	if err := checkBytes(raw, desc); err != nil {
		return nil, err
	}
	config, err := parseConfig(raw)
	if err != nil {
		return nil, fmt.Errorf("config of image %s: %w", doc.digest, err)
	}
	if err := checkImage(config, doc.manifest, want); err != nil {
		return nil, err
	}
	return &resolved{doc: doc, config: raw, diffIDs: config.RootFS.DiffIDs}, nil
}

func readBlob(ctx context.Context, src source, desc ocispec.Descriptor, limit int64) ([]byte, error) {
	if desc.Size > limit {
		return nil, fmt.Errorf("%w: %d bytes, %d allowed", image.ErrLimit, desc.Size, limit)
	}
	body, err := src.blob(ctx, desc)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return readVerified(body, desc, limit)
}

func parseConfig(raw []byte) (*ocispec.Image, error) {
	if err := checkKeys(raw); err != nil {
		return nil, fmt.Errorf("%w: %w", image.ErrManifest, err)
	}
	var config ocispec.Image
	if err := json.Unmarshal(raw, &config); err != nil {
		return nil, fmt.Errorf("%w: %w", image.ErrManifest, err)
	}
	return &config, nil
}

// checkImage refuses an image of another platform (an index may lie, and without one nobody has looked yet) and one
// whose config and manifest do not describe the same layers.
func checkImage(config *ocispec.Image, m *ocispec.Manifest, want ocispec.Platform) error {
	if suits(want, config.Platform) == 0 {
		return fmt.Errorf("%w: wanted %s, it is %s", image.ErrPlatform, platformString(want), platformString(config.Platform))
	}
	ids := config.RootFS.DiffIDs
	if len(ids) != len(m.Layers) {
		return fmt.Errorf("%w: %d diff_ids for %d layers", image.ErrManifest, len(ids), len(m.Layers))
	}
	for _, id := range ids {
		if err := image.CheckDigest(id); err != nil {
			return fmt.Errorf("%w: %w", image.ErrManifest, err)
		}
	}
	return nil
}

package aci

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantryrun/gantry/image"
	"github.com/gantryrun/gantry/image/appc"
)

// Image is an ACI that was converted: an OCI manifest and configuration, and the layers that they speak of.
type Image struct {
	Manifest, Config []byte
	Layers           []appc.Layer // lowest first; the tar of each is what was written for it
	ID               string       // of the ACI itself: sha512-…
}

// Env is what a conversion needs from outside.
type Env struct {
	// Platform for which images are looked for.
	Platform ocispec.Platform
	// Depend gets the ACI of a dependency: found, verified, and open.
	Depend func(ctx context.Context, d Wanted) (File, error)
	// Create makes the file that a layer is written to.
	Create func() (io.Writer, error)
	// Limit of what an ACI of size bytes may become, in bytes.
	Limit func(size int64) int64
}

// File is an ACI's bytes, compressed or not.
type File interface {
	io.ReadSeeker
	Size() int64
	Close() error
}

// Bounds of what one image may depend on.
const (
	maxImages = 64
	maxDepth  = 16
)

// conversion is one image on its way, with all that it depends on.
type conversion struct {
	Env
	layers []appc.Layer
}

// Convert makes an OCI image of the ACI in f. Its dependencies are laid below it in their order, theirs below them.
func Convert(ctx context.Context, f File, env Env) (*Image, error) {
	c := &conversion{Env: env}
	m, id, err := c.add(ctx, f, nil, nil)
	if err != nil {
		return nil, err
	}
	config, err := m.ImageConfig(env.Platform, id, c.layers)
	if err != nil {
		return nil, err
	}
	img := &Image{Layers: c.layers, ID: id}
	if img.Config, err = json.Marshal(config); err != nil {
		return nil, err
	}
	img.Manifest, err = json.Marshal(manifestOf(img))
	return img, err
}

func manifestOf(img *Image) ocispec.Manifest {
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: digest.FromBytes(img.Config), Size: int64(len(img.Config))},
		Layers: []ocispec.Descriptor{},
	}
	for _, l := range img.Layers {
		m.Layers = append(m.Layers, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: l.DiffID, Size: l.Size})
	}
	return m
}

// add the layers of what f depends on, then f's own. chain is the names above it, keep their whitelists.
func (c *conversion) add(ctx context.Context, f File, chain []string, keep whitelists) (*appc.Manifest, string, error) {
	if err := ctx.Err(); err != nil {
		return nil, "", err
	}
	limit := c.Limit(f.Size())
	m, err := rewound(f, func() (*appc.Manifest, error) { return findManifest(f, limit) })
	if err != nil {
		return nil, "", err
	}
	if err := c.checkPlace(m, chain); err != nil {
		return nil, "", err
	}
	keep = append(slices.Clip(keep), newWhitelist(m.PathWhitelist))
	for _, d := range m.Dependencies {
		if err := c.depend(ctx, d, append(slices.Clip(chain), m.Name), keep); err != nil {
			return nil, "", fmt.Errorf("dependency %s: %w", d.ImageName, err)
		}
	}
	if len(c.layers) == maxImages {
		return nil, "", fmt.Errorf("%w: an image of more than %d", image.ErrLimit, maxImages)
	}
	w, err := c.Create()
	if err != nil {
		return nil, "", err
	}
	var id string
	layer, err := rewound(f, func() (l appc.Layer, err error) {
		l, id, err = writeLayer(w, f, m.Name, keep, limit)
		return l, err
	})
	c.layers = append(c.layers, layer)
	return m, id, err
}

// checkPlace refuses an image for another platform, one that depends on itself, and bottomless chains (docker2aci went
// round such a loop: CVE-2016-8579).
func (c *conversion) checkPlace(m *appc.Manifest, chain []string) error {
	if slices.Contains(chain, m.Name) {
		return fmt.Errorf("%w: %s depends on itself", appc.ErrInvalid, m.Name)
	}
	if len(chain) == maxDepth {
		return fmt.Errorf("%w: dependencies of dependencies, more than %d", image.ErrLimit, maxDepth)
	}
	p, err := m.Platform(c.Platform)
	if err == nil && (p.OS != c.Platform.OS || p.Architecture != c.Platform.Architecture) {
		err = fmt.Errorf("%w: %s is for %s/%s, wanted %s/%s", image.ErrPlatform, m.Name, p.OS, p.Architecture, c.Platform.OS, c.Platform.Architecture)
	}
	return err
}

func (c *conversion) depend(ctx context.Context, d appc.Dependency, chain []string, keep whitelists) error {
	if slices.Contains(chain, d.ImageName) {
		return fmt.Errorf("%w: %s depends on itself", appc.ErrInvalid, d.ImageName)
	}
	f, err := c.Depend(ctx, Wanted{Name: d.ImageName, Labels: d.Labels})
	if err != nil {
		return err
	}
	defer f.Close()
	m, id, err := c.add(ctx, f, chain, keep)
	if err != nil {
		return err
	}
	if d.ImageID != "" && d.ImageID != id {
		return fmt.Errorf("%w: has ID %s, the manifest wants %s", appc.ErrInvalid, id, d.ImageID)
	}
	return Wanted{Name: d.ImageName, Labels: d.Labels}.Check(m)
}

func rewound[T any](f io.Seeker, use func() (T, error)) (T, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		var none T
		return none, err
	}
	return use()
}

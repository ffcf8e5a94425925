package image

import (
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Image is what the store knows about one image. It is a value: changing it changes nothing on disk.
type Image struct {
	// ID is the digest of the image's own manifest (never of an index that led to it).
	ID digest.Digest
	// Names that lead here, sorted. An image got by name carries that name alone: Get reads no more than it needs.
	Names []string

	Manifest ocispec.Manifest
	Config   ocispec.Image
	// DiffIDs of the layers, lowest first, and the ChainID over all of them (image-spec, config.md).
	DiffIDs []digest.Digest
	ChainID digest.Digest

	// Size in bytes of the layers as stored, shared ones included.
	Size int64
	// Fetched is when the image came in; LastUsed when a pod was last given it (or Fetched).
	Fetched, LastUsed time.Time
	// Source says where the image came from, Verified by what it was verified ("digest", or a signature's key).
	// Both belong to the name it was got by, or its newest name.
	Source, Verified string
	// Evidence is Verified in full.
	Evidence Evidence
	// Caching of the URL that the image was got by.
	Caching Caching
	// Broken: the image's record cannot be read. All that is known is ID and names: see Store.Broken.
	Broken bool
}

// Name is what to show people: the first name, or the ID.
func (i *Image) Name() string {
	if len(i.Names) > 0 {
		return i.Names[0]
	}
	return i.ID.String()
}

// chainID folds diffIDs as image-spec's config.md says. An image of no layers, of which the spec does not speak, has a
// tree like any other, under a name that no layers give.
func chainID(diffIDs []digest.Digest) digest.Digest {
	if len(diffIDs) == 0 {
		return digest.FromString("no layers")
	}
	chain := diffIDs[0]
	for _, d := range diffIDs[1:] {
		chain = digest.FromString(chain.String() + " " + d.String())
	}
	return chain
}

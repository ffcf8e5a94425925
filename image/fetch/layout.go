package fetch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantryrun/gantry/image"
)

const ociLayoutFile = ocispec.ImageLayoutFile

// layout is an OCI image layout (image-spec, image-layout.md), as a directory or as a tar. What it calls its images
// only serves to choose one: names in the store are the user's (an archive once renamed itself: CVE-2026-50195).
type layout struct {
	files
	tag string
}

func (l *layout) root(_ context.Context) ([]byte, string, error) {
	if err := l.checkVersion(); err != nil {
		return nil, "", err
	}
	raw, err := readSmall(l.files, ocispec.ImageIndexFile, maxManifest)
	if err != nil {
		return nil, "", fmt.Errorf("OCI layout: %w", err)
	}
	doc, err := parseDocument(raw, "")
	if err != nil {
		return nil, "", err
	}
	if doc.index == nil {
		return nil, "", fmt.Errorf("%w: index.json is no index", image.ErrManifest)
	}
	desc, whole, err := l.pick(doc.index)
	if err != nil || whole {
		return raw, ocispec.MediaTypeImageIndex, err
	}
	if err := checkDescriptor(desc); err != nil {
		return nil, "", fmt.Errorf("%w: %w", image.ErrManifest, err)
	}
	raw, mediaType, err := l.manifest(context.Background(), desc)
	if err != nil {
		return nil, "", err
	}
	return raw, mediaType, checkBytes(raw, desc)
}

func (l *layout) checkVersion() error {
	raw, err := readSmall(l.files, ociLayoutFile, maxManifest)
	if err != nil {
		return fmt.Errorf("not an OCI layout: %w", err)
	}
	var version ocispec.ImageLayout
	if err := json.Unmarshal(raw, &version); err != nil || version.Version != ocispec.ImageLayoutVersion {
		return fmt.Errorf("%w: OCI layout of version %q", image.ErrManifest, version.Version)
	}
	return nil
}

// pick chooses by tag; without one there has to be only one image, or an index of nameless ones (whole) from which the
// platform chooses.
func (l *layout) pick(index *ocispec.Index) (desc ocispec.Descriptor, whole bool, err error) {
	var names []string
	for _, d := range index.Manifests {
		name := d.Annotations[ocispec.AnnotationRefName]
		if l.tag != "" && (name == l.tag || d.Annotations["io.containerd.image.name"] == l.tag) {
			return d, false, nil
		}
		if name != "" {
			names = append(names, fmt.Sprintf("%q", name))
		}
	}
	switch {
	case l.tag != "":
		return desc, false, fmt.Errorf("%w: no %q in the OCI layout; it has %s", image.ErrNotFound, l.tag, listed(names))
	case len(index.Manifests) == 1:
		return index.Manifests[0], false, nil
	case len(names) == 0 && len(index.Manifests) > 0:
		return desc, true, nil
	default:
		return desc, false, fmt.Errorf("%w: the OCI layout has %d images: add :TAG, one of %s", image.ErrAmbiguous, len(index.Manifests), listed(names))
	}
}

func (l *layout) manifest(_ context.Context, desc ocispec.Descriptor) ([]byte, string, error) {
	raw, err := readSmall(l.files, blobName(desc), maxManifest)
	return raw, desc.MediaType, missing(desc, err)
}

func (l *layout) blob(_ context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	f, size, err := l.open(blobName(desc))
	if err != nil {
		return nil, missing(desc, err)
	}
	if size != desc.Size {
		f.Close()
		return nil, fmt.Errorf("%w: blob %s has %d bytes, %d expected", image.ErrVerify, desc.Digest, size, desc.Size)
	}
	return f, nil
}

func missing(desc ocispec.Descriptor, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: blob %s is not in there: %w", image.ErrManifest, desc.Digest, err)
	}
	return err
}

// blobName of a descriptor that checkDescriptor has passed.
func blobName(desc ocispec.Descriptor) string {
	return "blobs/" + desc.Digest.Algorithm().String() + "/" + desc.Digest.Encoded()
}

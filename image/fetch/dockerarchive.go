package fetch

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantryrun/gantry/image"
)

const dockerManifestFile = "manifest.json"

// dockerArchive is what docker save and podman save write: a config, and layers named by path. It has no manifest of
// the registry's kind, so one is made up, always the same for the same image: its digest is the image's ID here.
type dockerArchive struct {
	files
	raw   []byte
	names map[digest.Digest]string // of config and layers, by the digests in raw
}

// dockerItem is an element of manifest.json.
type dockerItem struct {
	Config   string
	RepoTags []string
	Layers   []string
}

func openDockerArchive(list files, tag string) (*dockerArchive, error) {
	raw, err := readSmall(list, dockerManifestFile, maxManifest)
	if err != nil {
		return nil, fmt.Errorf("not an archive of docker save: %w", err)
	}
	var items []dockerItem
	if err := json.Unmarshal(raw, &items); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", image.ErrManifest, dockerManifestFile, err)
	}
	item, err := pickItem(items, tag)
	if err != nil {
		return nil, err
	}
	a := &dockerArchive{files: list, names: map[digest.Digest]string{}}
	return a, a.makeManifest(item)
}

func pickItem(items []dockerItem, tag string) (dockerItem, error) {
	var names []string
	for _, item := range items {
		for _, t := range item.RepoTags {
			if tag != "" && sameName(t, tag) {
				return item, nil
			}
			names = append(names, fmt.Sprintf("%q", t))
		}
	}
	switch {
	case tag != "":
		return dockerItem{}, fmt.Errorf("%w: no %q in the archive; it has %s", image.ErrNotFound, tag, listed(names))
	case len(items) == 1:
		return items[0], nil
	default:
		return dockerItem{}, fmt.Errorf("%w: the archive has %d images: add :NAME, one of %s", image.ErrAmbiguous, len(items), listed(names))
	}
}

// sameName: docker writes short names, podman whole ones.
func sameName(a, b string) bool {
	ra, erra := image.ParseRef("docker://" + a)
	rb, errb := image.ParseRef("docker://" + b)
	return a == b || (erra == nil && errb == nil && ra == rb)
}

func (a *dockerArchive) makeManifest(item dockerItem) error {
	config, err := readSmall(a, path.Clean(item.Config), maxConfig)
	if err != nil {
		return fmt.Errorf("config of the archive: %w", err)
	}
	parsed, err := parseConfig(config)
	if err != nil {
		return err
	}
	ids := parsed.RootFS.DiffIDs
	if len(ids) != len(item.Layers) || len(ids) > maxLayers {
		return fmt.Errorf("%w: %d diff_ids for %d layers", image.ErrManifest, len(ids), len(item.Layers))
	}
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageManifest,
		Config: ocispec.Descriptor{
			MediaType: ocispec.MediaTypeImageConfig, Digest: digest.FromBytes(config), Size: int64(len(config)),
		},
		Layers: make([]ocispec.Descriptor, len(ids)),
	}
	a.names[m.Config.Digest] = path.Clean(item.Config)
	for i, name := range item.Layers {
		if m.Layers[i], err = a.describe(path.Clean(name), ids[i]); err != nil {
			return fmt.Errorf("layer %q of the archive: %w", name, err)
		}
		a.names[m.Layers[i].Digest] = path.Clean(name)
	}
	a.raw, err = json.Marshal(m)
	return err
}

// describe makes a layer's descriptor. Plain tars, the rule, are what the config's diffID says, to be verified as they
// are read; compressed ones have a digest that nobody has told, so they are read twice.
func (a *dockerArchive) describe(name string, diffID digest.Digest) (ocispec.Descriptor, error) {
	f, size, err := a.open(name)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	defer f.Close()
	desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: diffID, Size: size}
	magic := make([]byte, 4)
	if _, err := io.ReadFull(f, magic); err != nil {
		return desc, nil // shorter than any compressed stream; reading it will tell
	}
	for prefix, mediaType := range map[string]string{
		gzipMagic: ocispec.MediaTypeImageLayerGzip, zstdMagic: ocispec.MediaTypeImageLayerZstd,
	} {
		if bytes.HasPrefix(magic, []byte(prefix)) {
			desc.MediaType = mediaType
			desc.Digest, err = digest.FromReader(io.MultiReader(bytes.NewReader(magic), f))
		}
	}
	return desc, err
}

func (a *dockerArchive) root(_ context.Context) ([]byte, string, error) {
	return slices.Clone(a.raw), ocispec.MediaTypeImageManifest, nil
}

func (a *dockerArchive) manifest(_ context.Context, desc ocispec.Descriptor) ([]byte, string, error) {
	return nil, "", fmt.Errorf("%w: archive has no manifest %s", image.ErrManifest, desc.Digest)
}

func (a *dockerArchive) blob(_ context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	f, _, err := a.open(a.names[desc.Digest])
	return f, err
}

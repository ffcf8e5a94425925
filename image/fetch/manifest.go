package fetch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantryrun/gantry/image"
)

// Docker's names of the same things.
const (
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	dockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
)

// Bounds of what is read into memory.
const (
	maxManifest = 4 << 20
	maxConfig   = 8 << 20
	maxLayers   = 1000
)

var manifestTypes = []string{ocispec.MediaTypeImageManifest, dockerManifest, ocispec.MediaTypeImageIndex, dockerList}

// document is a manifest or an index, with the bytes that its digest is of.
type document struct {
	raw      []byte
	digest   digest.Digest
	manifest *ocispec.Manifest
	index    *ocispec.Index
}

// parseDocument decides by the document itself what it is: a manifest or an index. contentType is what the server
// called it, "" if nobody did. One that claims to be both, or something else than it is called, is refused: two
// readers might take it for two images (CVE-2021-41190).
func parseDocument(raw []byte, contentType string) (*document, error) {
	if err := checkKeys(raw); err != nil {
		return nil, fmt.Errorf("%w: %w", image.ErrManifest, err)
	}
	var probe struct {
		SchemaVersion int             `json:"schemaVersion"`
		MediaType     string          `json:"mediaType"`
		ArtifactType  string          `json:"artifactType"`
		Manifests     json.RawMessage `json:"manifests"`
		Layers        json.RawMessage `json:"layers"`
		Config        json.RawMessage `json:"config"`
		FSLayers      json.RawMessage `json:"fsLayers"`
	}
	if err := json.Unmarshal(raw, &probe); err != nil {
		return nil, fmt.Errorf("%w: %w", image.ErrManifest, err)
	}
	isIndex := probe.Manifests != nil
	switch {
	case probe.FSLayers != nil || probe.SchemaVersion == 1:
		return nil, fmt.Errorf("%w: Docker schema 1 is not supported: the image has to be pushed again", image.ErrManifest)
	case probe.SchemaVersion != 2:
		return nil, fmt.Errorf("%w: schemaVersion %d", image.ErrManifest, probe.SchemaVersion)
	case isIndex && (probe.Layers != nil || probe.Config != nil):
		return nil, fmt.Errorf("%w: has the fields of both an index and a manifest", image.ErrManifest)
	case !isIndex && (probe.Layers == nil || probe.Config == nil || string(probe.Layers) == "null"):
		return nil, fmt.Errorf("%w: neither index nor manifest", image.ErrManifest)
	}
	for _, t := range []string{probe.MediaType, contentType} {
		if err := checkMediaType(t, isIndex); err != nil {
			return nil, err
		}
	}
	if served := baseType(contentType); probe.MediaType != "" && slices.Contains(manifestTypes, served) && served != probe.MediaType {
		return nil, fmt.Errorf("%w: served as %q, calls itself %q", image.ErrManifest, served, probe.MediaType)
	}
	doc := &document{raw: raw, digest: digest.FromBytes(raw)}
	if isIndex {
		doc.index = &ocispec.Index{}
		return doc, doc.decode(doc.index)
	}
	doc.manifest = &ocispec.Manifest{}
	if err := doc.decode(doc.manifest); err != nil {
		return nil, err
	}
	return doc, checkManifest(doc.manifest)
}

func (d *document) decode(into any) error {
	if err := json.Unmarshal(d.raw, into); err != nil {
		return fmt.Errorf("%w: %w", image.ErrManifest, err)
	}
	return nil
}

func baseType(contentType string) string {
	t, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return contentType
	}
	return t
}

// checkMediaType: a document's name has to be of its kind. Servers that call everything JSON are common.
func checkMediaType(mediaType string, isIndex bool) error {
	switch baseType(mediaType) {
	case "", "application/json", "text/plain", "application/octet-stream":
		return nil
	case ocispec.MediaTypeImageIndex, dockerList:
		if isIndex {
			return nil
		}
	case ocispec.MediaTypeImageManifest, dockerManifest:
		if !isIndex {
			return nil
		}
	default:
		return fmt.Errorf("%w: unknown media type %q", image.ErrManifest, mediaType)
	}
	return fmt.Errorf("%w: called %q, which it is not", image.ErrManifest, mediaType)
}

func checkManifest(m *ocispec.Manifest) error {
	switch m.Config.MediaType {
	case ocispec.MediaTypeImageConfig, "application/vnd.docker.container.image.v1+json":
	default:
		return fmt.Errorf("%w: config has media type %q: an artifact, not an image to run", image.ErrManifest, m.Config.MediaType)
	}
	if len(m.Layers) > maxLayers {
		return fmt.Errorf("%w: %d layers, %d allowed", image.ErrManifest, len(m.Layers), maxLayers)
	}
	for _, desc := range append([]ocispec.Descriptor{m.Config}, m.Layers...) {
		if err := checkDescriptor(desc); err != nil {
			return fmt.Errorf("%w: %w", image.ErrManifest, err)
		}
	}
	for _, desc := range m.Layers {
		if _, err := compressionOf(desc.MediaType); err != nil {
			return fmt.Errorf("%w: %w", image.ErrManifest, err)
		}
	}
	return nil
}

// Fields whose meaning another spelling would share: Go's decoder matches names without regard to case.
var criticalFields = []string{
	"schemaVersion", "mediaType", "artifactType", "manifests", "layers", "config", "digest", "size", "platform",
	"architecture", "os", "variant", "rootfs", "diff_ids", "urls", "data", "subject", "fsLayers",
}

// checkKeys walks a JSON document and refuses what parsers disagree about: a key twice in one object, a critical
// field spelled in another case, anything after the document, and bottomless nesting.
func checkKeys(raw []byte) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if err := walk(dec, "", 0); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("bytes after the document")
	}
	return nil
}

const maxNesting = 32

// walk reads one value, which the object around it calls name.
func walk(dec *json.Decoder, name string, depth int) error {
	if depth > maxNesting {
		return fmt.Errorf("nested deeper than %d", maxNesting)
	}
	token, err := dec.Token()
	if err != nil {
		return err
	}
	delim, ok := token.(json.Delim)
	if !ok {
		return nil
	}
	seen := map[string]bool{}
	free := name == "annotations" || name == "Labels" // keys are the image's own
	for dec.More() {
		key := ""
		if delim == '{' {
			if key, err = readKey(dec, seen, free); err != nil {
				return err
			}
		}
		if err := walk(dec, key, depth+1); err != nil {
			return err
		}
	}
	_, err = dec.Token() // the closing delimiter
	return err
}

func readKey(dec *json.Decoder, seen map[string]bool, free bool) (string, error) {
	token, err := dec.Token()
	if err != nil {
		return "", err
	}
	key, _ := token.(string) // the decoder knows that keys are strings
	if seen[key] {
		return "", fmt.Errorf("field %q twice", key)
	}
	seen[key] = true
	if free {
		return key, nil
	}
	for _, field := range criticalFields {
		if key != field && strings.EqualFold(key, field) {
			return "", fmt.Errorf("field %q is not %q", key, field)
		}
	}
	return key, nil
}

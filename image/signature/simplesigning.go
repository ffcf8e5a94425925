package signature

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantryrun/gantry/image"
	"github.com/gantryrun/gantry/image/strictjson"
	"github.com/gantryrun/gantry/image/trust"
)

// Names of cosign's older format (its specs/SIGNATURE_SPEC.md): a manifest whose layers are payloads, each with the
// signature over its bytes in an annotation.
const (
	simpleType      = "application/vnd.dev.cosign.simplesigning.v1+json"
	simpleArtifact  = "application/vnd.dev.cosign.artifact.sig.v1+json"
	simpleSignature = "dev.cosignproject.cosign/signature"
	simplePayload   = "cosign container image signature"
)

// signatureTag is where cosign puts signatures: sha256-<hex>.sig beside the image.
func signatureTag(subject digest.Digest) string {
	return subject.Algorithm().String() + "-" + subject.Encoded() + ".sig"
}

// simpleSigning tries the signatures of the manifest that id names.
func (v *verifier) simpleSigning(ctx context.Context, subject digest.Digest, id string) (*image.Evidence, error) {
	raw, err := v.src.Manifest(ctx, id)
	if errors.Is(err, image.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	m, err := parseManifest(raw)
	if err != nil {
		v.note("%v", err)
		return nil, nil
	}
	return v.payloads(ctx, subject, m)
}

// payloads tries the layers of a signature manifest.
func (v *verifier) payloads(ctx context.Context, subject digest.Digest, m *ocispec.Manifest) (*image.Evidence, error) {
	for _, desc := range m.Layers {
		if desc.MediaType != simpleType {
			continue
		}
		if !v.counted() {
			break
		}
		payload, err := v.blob(ctx, desc)
		if err != nil {
			return nil, err
		}
		sig, err := base64.StdEncoding.DecodeString(desc.Annotations[simpleSignature])
		if payload == nil || err != nil {
			v.note("a signature that is none")
			continue
		}
		// The signature first: a payload that nobody vouches for is not even parsed.
		key := v.signer(payload, sig)
		if key == nil {
			v.note("one by a key that is not trusted for the name")
			continue
		}
		if err := v.checkPayload(payload, subject); err != nil {
			v.note("%v", err)
			continue
		}
		return &image.Evidence{Format: FormatSimple, Key: key.Fingerprint}, nil
	}
	return nil, nil
}

// blob reads and verifies a small blob; nil where it is not what its descriptor says.
func (v *verifier) blob(ctx context.Context, desc ocispec.Descriptor) ([]byte, error) {
	if image.CheckDigest(desc.Digest) != nil || desc.Size < 0 || desc.Size > maxPayload {
		return nil, nil
	}
	data, err := v.src.Blob(ctx, desc, maxPayload)
	if err != nil && !errors.Is(err, image.ErrNotFound) {
		return nil, err
	}
	if int64(len(data)) != desc.Size || digest.FromBytes(data) != desc.Digest {
		return nil, nil
	}
	return data, nil
}

// payload of a simple signature (containers/image's atomic-signature(5) has the same). Optional is the signer's own.
type payload struct {
	Critical struct {
		Identity struct {
			Reference string `json:"docker-reference"`
		} `json:"identity"`
		Image struct {
			Digest string `json:"docker-manifest-digest"`
		} `json:"image"`
		Type string `json:"type"`
	} `json:"critical"`
	Optional json.RawMessage `json:"optional"`
}

// checkPayload compares what was signed with what was asked.
func (v *verifier) checkPayload(data []byte, subject digest.Digest) error {
	var p payload
	if err := strictjson.Decode(data, &p); err != nil {
		return fmt.Errorf("one with a payload that cannot be read: %w", err)
	}
	if p.Critical.Type != simplePayload {
		return fmt.Errorf("one of type %q", p.Critical.Type)
	}
	if p.Critical.Image.Digest != subject.String() {
		return fmt.Errorf("one of another image, %q", p.Critical.Image.Digest)
	}
	if name, err := trust.CheckPrefix(p.Critical.Identity.Reference); err != nil || name != v.name {
		return fmt.Errorf("one for another name, %q", p.Critical.Identity.Reference)
	}
	return nil
}

// parseManifest reads a manifest of signatures.
func parseManifest(raw []byte) (*ocispec.Manifest, error) {
	var m ocispec.Manifest
	if err := strictjson.Check(raw); err != nil {
		return nil, fmt.Errorf("a manifest of signatures that cannot be read: %w", err)
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, fmt.Errorf("a manifest of signatures that cannot be read: %w", err)
	}
	if m.SchemaVersion != 2 {
		return nil, fmt.Errorf("a manifest of signatures of version %d", m.SchemaVersion)
	}
	return &m, nil
}

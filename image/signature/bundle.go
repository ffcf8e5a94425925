package signature

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantryrun/gantry/image"
	"github.com/gantryrun/gantry/image/strictjson"
)

// Names of cosign's newer format: a referrer of the image whose one layer is a Sigstore bundle, with a DSSE envelope
// around an in-toto statement, whose subject is the image's digest. It has no name: the prefix of the key is the
// identity, and who may sign below a prefix may move images about there.
const (
	bundleType    = "application/vnd.dev.sigstore.bundle.v0.3+json"
	payloadType   = "application/vnd.in-toto+json"
	statementType = "https://in-toto.io/Statement/v1"
	predicateType = "https://sigstore.dev/cosign/sign/v1"
)

// referrer tries one manifest that says that it is about subject.
func (v *verifier) referrer(ctx context.Context, subject digest.Digest, desc ocispec.Descriptor) (*image.Evidence, error) {
	if image.CheckDigest(desc.Digest) != nil {
		v.note("a referrer with a bad digest")
		return nil, nil
	}
	raw, err := v.src.Manifest(ctx, desc.Digest.String())
	if err != nil {
		return nil, err
	}
	if digest.FromBytes(raw) != desc.Digest {
		return nil, fmt.Errorf("manifest has digest %s, expected %s", digest.FromBytes(raw), desc.Digest)
	}
	m, err := parseManifest(raw)
	if err != nil {
		v.note("%v", err)
		return nil, nil
	}
	if m.Subject == nil || m.Subject.Digest != subject {
		v.note("a referrer of another image")
		return nil, nil
	}
	if len(m.Layers) != 1 || m.Layers[0].MediaType != bundleType {
		return v.payloads(ctx, subject, m)
	}
	if !v.counted() {
		return nil, nil
	}
	data, err := v.blob(ctx, m.Layers[0])
	if err != nil {
		return nil, err
	}
	key, err := v.bundle(data, subject)
	if err != nil {
		v.note("%v", err)
		return nil, nil
	}
	return &image.Evidence{Format: FormatBundle, Key: key.Fingerprint}, nil
}

// bundle is what of a Sigstore bundle (protobuf-specs, sigstore_bundle.proto, as JSON) a signature by a key needs. What
// it may hold besides, entries of transparency logs and timestamps, is not asked: the key is what is trusted. Another
// kind of signer or content is another thing, and refused.
type bundle struct {
	MediaType string `json:"mediaType"`
	Material  struct {
		PublicKey *struct {
			Hint string `json:"hint"` // of which key it may be. All that are trusted are tried.
		} `json:"publicKey"`
		TlogEntries json.RawMessage `json:"tlogEntries"`
		Timestamps  json.RawMessage `json:"timestampVerificationData"`
	} `json:"verificationMaterial"`
	Envelope *struct {
		Payload     []byte `json:"payload"`
		PayloadType string `json:"payloadType"`
		Signatures  []struct {
			Sig   []byte `json:"sig"`
			KeyID string `json:"keyid"`
		} `json:"signatures"`
	} `json:"dsseEnvelope"`
}

// statement is an in-toto statement (attestation/spec/v1).
type statement struct {
	Type    string `json:"_type"`
	Subject []struct {
		Name        string            `json:"name"`
		Digest      map[string]string `json:"digest"`
		Annotations json.RawMessage   `json:"annotations"`
	} `json:"subject"`
	PredicateType string          `json:"predicateType"`
	Predicate     json.RawMessage `json:"predicate"`
}

// bundle returns the key that vouches for subject in data.
func (v *verifier) bundle(data []byte, subject digest.Digest) (*Key, error) {
	var b bundle
	if err := strictjson.Decode(data, &b); err != nil {
		return nil, fmt.Errorf("a bundle that cannot be read: %w", err)
	}
	switch {
	case b.MediaType != bundleType:
		return nil, fmt.Errorf("a bundle of type %q", b.MediaType)
	case b.Material.PublicKey == nil:
		return nil, fmt.Errorf("a bundle that is not signed by a key")
	case b.Envelope == nil || len(b.Envelope.Signatures) != 1:
		return nil, fmt.Errorf("a bundle without an envelope of one signature")
	case b.Envelope.PayloadType != payloadType:
		return nil, fmt.Errorf("a bundle of %q", b.Envelope.PayloadType)
	}
	key := v.signer(preAuth(b.Envelope.PayloadType, b.Envelope.Payload), b.Envelope.Signatures[0].Sig)
	if key == nil {
		return nil, fmt.Errorf("one by a key that is not trusted for the name")
	}
	return key, checkStatement(b.Envelope.Payload, subject)
}

// preAuth is what DSSE signs (its protocol.md, "PAE").
func preAuth(kind string, payload []byte) []byte {
	head := "DSSEv1 " + strconv.Itoa(len(kind)) + " " + kind + " " + strconv.Itoa(len(payload)) + " "
	return append([]byte(head), payload...)
}

// checkStatement compares what was signed with what was asked. The same key may have signed other statements about the
// image, that it was tested or built, which are no signature of it.
func checkStatement(data []byte, subject digest.Digest) error {
	var s statement
	if err := strictjson.Decode(data, &s); err != nil {
		return fmt.Errorf("a statement that cannot be read: %w", err)
	}
	switch {
	case s.Type != statementType:
		return fmt.Errorf("a statement of type %q", s.Type)
	case s.PredicateType != predicateType:
		return fmt.Errorf("a statement of another matter, %q", s.PredicateType)
	case len(s.Subject) != 1:
		return fmt.Errorf("a statement about %d images", len(s.Subject))
	case s.Subject[0].Digest[subject.Algorithm().String()] != subject.Encoded():
		return fmt.Errorf("a statement about another image, %q", s.Subject[0].Digest)
	}
	return nil
}

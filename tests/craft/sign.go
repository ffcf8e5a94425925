package craft

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// What cosign calls its things.
const (
	bundleType    = "application/vnd.dev.sigstore.bundle.v0.3+json"
	payloadType   = "application/vnd.in-toto+json"
	statementType = "https://in-toto.io/Statement/v1"
	predicateType = "https://sigstore.dev/cosign/sign/v1"
	simpleType    = "application/vnd.dev.cosign.simplesigning.v1+json"
	simplePayload = "cosign container image signature"
)

// Signer signs as cosign does, in both of its formats, and otherwise.
type Signer struct{ private *ecdsa.PrivateKey }

// NewSigner has a key of its own.
func NewSigner() Signer {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	return Signer{private}
}

// PublicPEM is the file to trust.
func (s Signer) PublicPEM() []byte {
	der, err := x509.MarshalPKIXPublicKey(s.private.Public())
	must(err)
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// Sign a message; base64.
func (s Signer) Sign(message string) string {
	sum := sha256.Sum256([]byte(message))
	sig, err := ecdsa.SignASN1(rand.Reader, s.private, sum[:])
	must(err)
	return base64.StdEncoding.EncodeToString(sig)
}

// SimpleText is the payload of the older format.
func SimpleText(name, subject, kind string) string {
	return fmt.Sprintf(`{"critical":{"identity":{"docker-reference":%q},"image":{"docker-manifest-digest":%q},"type":%q},"optional":null}`, name, subject, kind)
}

// GoodSimple is the payload that cosign would sign.
func GoodSimple(name, subject string) string { return SimpleText(name, subject, simplePayload) }

// Simple puts a signature of the older format beside an image: a manifest under a tag, whose layer is text.
func (s *Site) Simple(repository, subject, text, signature string) {
	s.SimpleAs(repository, subject, text, signature, simpleType)
}

// SimpleAs is Simple with another media type.
func (s *Site) SimpleAs(repository, subject, text, signature, mediaType string) {
	layer := Describe(mediaType, []byte(text))
	layer["annotations"] = Object{"dev.cosignproject.cosign/signature": signature}
	s.Blob(repository, digest.FromString(text).String(), []byte(text))
	s.Document(repository, strings.Replace(subject, ":", "-", 1)+".sig", ocispec.MediaTypeImageManifest, JSON(Object{
		"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageManifest,
		"config": Describe(ocispec.MediaTypeImageConfig, []byte("{}")), "layers": []any{layer},
	}))
}

// Statement is what a bundle says of a subject.
func Statement(subject string) string {
	hex := strings.TrimPrefix(subject, "sha256:")
	return fmt.Sprintf(`{"_type":%q,"subject":[{"digest":{"sha256":%q},"annotations":{}}],"predicateType":%q,"predicate":{}}`, statementType, hex, predicateType)
}

// Envelope is a bundle around a statement.
func Envelope(statement, signature string) string {
	return fmt.Sprintf(`{"mediaType":%q,"verificationMaterial":{"publicKey":{"hint":"x"}},"dsseEnvelope":{"payload":%q,"payloadType":%q,"signatures":[{"sig":%q}]}}`,
		bundleType, base64.StdEncoding.EncodeToString([]byte(statement)), payloadType, signature)
}

// Bundle is a statement, signed as it should be.
func (s Signer) Bundle(statement string) string {
	return Envelope(statement, s.Sign(fmt.Sprintf("DSSEv1 %d %s %d %s", len(payloadType), payloadType, len(statement), statement)))
}

// Referrer puts a bundle beside an image, under the tag that stands in for the list of referrers.
func (s *Site) Referrer(repository, subject, bundle string) {
	s.Blob(repository, digest.FromString(bundle).String(), []byte(bundle))
	manifest := JSON(Object{
		"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageManifest, "artifactType": bundleType,
		"config": Describe(ocispec.MediaTypeEmptyJSON, []byte("{}")), "layers": []any{Describe(bundleType, []byte(bundle))},
		"subject": Object{"mediaType": ocispec.MediaTypeImageManifest, "digest": subject, "size": 1},
	})
	s.Blob(repository, digest.FromString("{}").String(), []byte("{}"))
	s.Document(repository, digest.FromBytes(manifest).String(), ocispec.MediaTypeImageManifest, manifest)
	desc := Describe(ocispec.MediaTypeImageManifest, manifest)
	desc["artifactType"] = bundleType
	s.Document(repository, strings.Replace(subject, ":", "-", 1), ocispec.MediaTypeImageIndex, JSON(Object{
		"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageIndex, "manifests": []any{desc},
	}))
}

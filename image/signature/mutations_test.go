package signature

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantryrun/gantry/image/trust"
)

// signer makes signatures of both formats, and wrong ones.
type signer struct {
	private crypto.Signer
	hash    crypto.Hash
	key     *Key
}

func newSigner(t testing.TB, private crypto.Signer, hash crypto.Hash) signer {
	t.Helper()
	key, err := ParseKey(publicPEM(t, private.Public()))
	if err != nil {
		t.Fatal(err)
	}
	return signer{private, hash, key}
}

func publicPEM(t testing.TB, public crypto.PublicKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func ecdsaSigner(t testing.TB, curve elliptic.Curve, hash crypto.Hash) signer {
	t.Helper()
	private, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return newSigner(t, private, hash)
}

func (s signer) sign(t testing.TB, message []byte) []byte {
	t.Helper()
	sum := message
	if s.hash != 0 {
		h := s.hash.New()
		h.Write(message)
		sum = h.Sum(nil)
	}
	sig, err := s.private.Sign(rand.Reader, sum, s.hash)
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

const (
	testName = "registry.example/team/app"
	testHex  = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
)

var subject = digest.NewDigestFromEncoded(digest.SHA256, testHex)

func simpleText(name, digest, kind string) string {
	return fmt.Sprintf(`{"critical":{"identity":{"docker-reference":%q},"image":{"docker-manifest-digest":%q},"type":%q},"optional":null}`, name, digest, kind)
}

// putSimple puts a signature of the older format into r.
func (s signer) putSimple(t testing.TB, r *repo, text string, sig []byte) {
	t.Helper()
	d := r.putBlob([]byte(text))
	r.putManifest(t, signatureTag(subject), ocispec.Manifest{Versioned: v2, Layers: []ocispec.Descriptor{{
		MediaType: simpleType, Digest: d, Size: int64(len(text)),
		Annotations: map[string]string{simpleSignature: base64.StdEncoding.EncodeToString(sig)},
	}}})
}

var v2 = specs.Versioned{SchemaVersion: 2}

func statementText(kind, predicate, hex string) string {
	return fmt.Sprintf(`{"_type":%q,"subject":[{"digest":{"sha256":%q},"annotations":{}}],"predicateType":%q,"predicate":{}}`, kind, hex, predicate)
}

func envelope(kind, payload string, sig []byte) string {
	return fmt.Sprintf(`{"mediaType":%q,"verificationMaterial":{"publicKey":{"hint":"x"}},"dsseEnvelope":{"payload":%q,"payloadType":%q,"signatures":[{"sig":%q}]}}`,
		bundleType, base64.StdEncoding.EncodeToString([]byte(payload)), kind, base64.StdEncoding.EncodeToString(sig))
}

// putBundle puts a bundle into r, as a referrer of about.
func (s signer) putBundle(t testing.TB, r *repo, about digest.Digest, text string) {
	t.Helper()
	d := r.putBlob([]byte(text))
	desc := r.putManifest(t, "bundle", ocispec.Manifest{
		Versioned: v2, ArtifactType: bundleType, Subject: &ocispec.Descriptor{Digest: about},
		Layers: []ocispec.Descriptor{{MediaType: bundleType, Digest: d, Size: int64(len(text))}},
	})
	desc.ArtifactType = bundleType
	r.putManifest(t, "sha256-"+subject.Encoded(), ocispec.Index{Versioned: v2, Manifests: []ocispec.Descriptor{desc}})
}

// goodBundle signs statement in the way in which it should be.
func (s signer) goodBundle(t testing.TB, statement string) string {
	return envelope(payloadType, statement, s.sign(t, preAuth(payloadType, []byte(statement))))
}

// TestAlgorithms: every algorithm above the floor, in both formats.
func TestAlgorithms(t *testing.T) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	long, err := rsa.GenerateKey(rand.Reader, minRSA)
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]signer{
		"P-256":             ecdsaSigner(t, elliptic.P256(), crypto.SHA256),
		"P-384":             ecdsaSigner(t, elliptic.P384(), crypto.SHA384),
		"P-384 and SHA-256": ecdsaSigner(t, elliptic.P384(), crypto.SHA256),
		"Ed25519":           newSigner(t, ed, 0),
		"RSA":               newSigner(t, long, crypto.SHA256),
	} {
		t.Run(name, func(t *testing.T) {
			p := trusting(t, "registry.example/team", s.key)
			r := newRepo()
			text := simpleText(testName, subject.String(), simplePayload)
			s.putSimple(t, r, text, s.sign(t, []byte(text)))
			if evidence, err := Verify(t.Context(), p, r, testName, subject); err != nil || evidence.Format != FormatSimple {
				t.Errorf("simple: %+v, %v", evidence, err)
			}
			r = newRepo()
			s.putBundle(t, r, subject, s.goodBundle(t, statementText(statementType, predicateType, testHex)))
			if evidence, err := Verify(t.Context(), p, r, testName, subject); err != nil || evidence.Format != FormatBundle {
				t.Errorf("bundle: %+v, %v", evidence, err)
			}
		})
	}
}

// TestMutations: one thing is wrong with a signature that is good otherwise; each row is a comparison that is needed.
// Precedents: CVE-2022-36056 and CVE-2026-22703 (fields that were not compared), GHSA-fx35 (a key where a certificate
// is expected), GHSA-9vcr (signatures counted that were not needed).
func TestMutations(t *testing.T) {
	s, other := ecdsaSigner(t, elliptic.P256(), crypto.SHA256), ecdsaSigner(t, elliptic.P256(), crypto.SHA256)
	p := trusting(t, "registry.example/team", s.key)
	good := simpleText(testName, subject.String(), simplePayload)
	state := statementText(statementType, predicateType, testHex)
	otherHex := strings.Repeat("ab", 32)
	simple := func(text string) func(*testing.T, *repo) {
		return func(t *testing.T, r *repo) { s.putSimple(t, r, text, s.sign(t, []byte(text))) }
	}
	bundle := func(text string) func(*testing.T, *repo) {
		return func(t *testing.T, r *repo) { s.putBundle(t, r, subject, text) }
	}
	signed := func(statement string) func(*testing.T, *repo) { return bundle(s.goodBundle(t, statement)) }
	fine := s.goodBundle(t, state)
	head, _, _ := strings.Cut(fine, `[{"sig"`)
	change := func(old, new string) func(*testing.T, *repo) {
		if !strings.Contains(fine, old) {
			t.Fatalf("bundle has no %s", old)
		}
		return bundle(strings.Replace(fine, old, new, 1))
	}
	for name, put := range map[string]func(*testing.T, *repo){
		"simple: other key":             func(t *testing.T, r *repo) { s.putSimple(t, r, good, other.sign(t, []byte(good))) },
		"simple: signature of another":  func(t *testing.T, r *repo) { s.putSimple(t, r, good, s.sign(t, []byte(good+" "))) },
		"simple: no signature":          func(t *testing.T, r *repo) { s.putSimple(t, r, good, nil) },
		"simple: signature cut":         func(t *testing.T, r *repo) { sig := s.sign(t, []byte(good)); s.putSimple(t, r, good, sig[:len(sig)-1]) },
		"simple: bytes after signature": func(t *testing.T, r *repo) { s.putSimple(t, r, good, append(s.sign(t, []byte(good)), 0)) },
		"simple: payload changed": func(t *testing.T, r *repo) {
			s.putSimple(t, r, strings.Replace(good, "null", "true", 1), s.sign(t, []byte(good)))
		},
		"simple: blob is not what its descriptor says": func(t *testing.T, r *repo) {
			simple(good)(t, r)
			for d := range r.blobs {
				r.blobs[d] = []byte(good + "\n")
			}
		},
		"simple: blob is gone":         func(t *testing.T, r *repo) { simple(good)(t, r); clear(r.blobs) },
		"simple: other digest":         simple(simpleText(testName, "sha256:"+otherHex, simplePayload)),
		"simple: digest cut":           simple(simpleText(testName, subject.String()[:40], simplePayload)),
		"simple: digest in upper case": simple(simpleText(testName, "sha256:"+strings.ToUpper(testHex), simplePayload)),
		"simple: no digest":            simple(simpleText(testName, "", simplePayload)),
		"simple: sibling's name":       simple(simpleText("registry.example/team/app2", subject.String(), simplePayload)),
		"simple: parent's name":        simple(simpleText("registry.example/team", subject.String(), simplePayload)),
		"simple: child's name":         simple(simpleText(testName+"/x", subject.String(), simplePayload)),
		"simple: other host":           simple(simpleText("registry.example.evil/team/app", subject.String(), simplePayload)),
		"simple: name with a tag":      simple(simpleText(testName+":v1", subject.String(), simplePayload)),
		"simple: no name":              simple(simpleText("", subject.String(), simplePayload)),
		"simple: other type":           simple(simpleText(testName, subject.String(), "atomic container signature")),
		"simple: no type":              simple(simpleText(testName, subject.String(), "")),
		"simple: field twice":          simple(strings.Replace(good, `"critical":`, `"critical":{},"critical":`, 1)),
		"simple: field in two cases":   simple(strings.Replace(good, `"critical":`, `"Critical":{},"critical":`, 1)),
		"simple: unknown field":        simple(strings.Replace(good, `"optional":`, `"x":1,"optional":`, 1)),
		"simple: bytes after it":       simple(good + "{}"),
		"simple: not JSON":             simple("signed"),
		"simple: other media type": func(t *testing.T, r *repo) {
			simple(good)(t, r)
			tag := signatureTag(subject)
			r.manifests[tag] = []byte(strings.Replace(string(r.manifests[tag]), simpleType, "text/plain", 1))
		},

		"bundle: other key":                 bundle(other.goodBundle(t, state)),
		"bundle: signed without PAE":        bundle(envelope(payloadType, state, s.sign(t, []byte(state)))),
		"bundle: PAE of another type":       bundle(envelope(payloadType, state, s.sign(t, preAuth("text/plain", []byte(state))))),
		"bundle: other payload type":        bundle(envelope("text/plain", state, s.sign(t, preAuth("text/plain", []byte(state))))),
		"bundle: no signature":              bundle(head + `[]}}`),
		"bundle: two signatures":            change(`"signatures":[`, `"signatures":[{"sig":"AAAA"},`),
		"bundle: certificate":               change(`"publicKey":{"hint":"x"}`, `"certificate":{"rawBytes":"AAAA"}`),
		"bundle: certificate chain":         change(`"publicKey":{"hint":"x"}`, `"x509CertificateChain":{"certificates":[]}`),
		"bundle: key and certificate":       change(`"publicKey":{"hint":"x"}`, `"publicKey":{"hint":"x"},"certificate":{"rawBytes":"AAAA"}`),
		"bundle: nobody":                    change(`"publicKey":{"hint":"x"}`, ``),
		"bundle: no envelope":               change(`"dsseEnvelope"`, `"messageSignature"`),
		"bundle: other version":             change("v0.3+json", "v0.9+json"),
		"bundle: field twice":               change(`"mediaType":`, `"mediaType":"x","mediaType":`),
		"bundle: field in two cases":        change(`"dsseEnvelope":`, `"DsseEnvelope":null,"dsseEnvelope":`),
		"bundle: payload changed":           change(`"payload":"`, `"payload":"AAAA`),
		"bundle: statement of other digest": signed(statementText(statementType, predicateType, otherHex)),
		"bundle: attestation":               signed(statementText(statementType, "https://slsa.dev/provenance/v1", testHex)),
		"bundle: other statement":           signed(statementText("https://in-toto.io/Statement/v0.1", predicateType, testHex)),
		"bundle: two subjects":              signed(strings.Replace(state, `[{"digest"`, `[{"digest":{"sha256":"`+otherHex+`"}},{"digest"`, 1)),
		"bundle: no subject":                signed(strings.Replace(state, state[strings.Index(state, `[{"digest"`):strings.Index(state, `,"predicateType"`)], `[]`, 1)),
		"bundle: digest of other algorithm": signed(strings.Replace(state, `"sha256"`, `"sha512"`, 1)),
		"bundle: statement's field twice":   signed(strings.Replace(state, `"subject":`, `"subject":[],"subject":`, 1)),
		"bundle: referrer of another": func(t *testing.T, r *repo) {
			s.putBundle(t, r, digest.NewDigestFromEncoded(digest.SHA256, otherHex), fine)
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRepo()
			put(t, r)
			if evidence, err := Verify(t.Context(), p, r, testName, subject); !errors.Is(err, trust.ErrUntrusted) {
				t.Fatalf("got %+v, %v: want trust.ErrUntrusted", evidence, err)
			} else if strings.ContainsAny(err.Error(), "\n\x1b") {
				t.Errorf("error is not one line: %q", err)
			}
			if r.asked > 10 {
				t.Errorf("asked %d times", r.asked)
			}
		})
	}
	t.Run("the unchanged ones pass", func(t *testing.T) {
		for _, put := range []func(*testing.T, *repo){simple(good), bundle(fine)} {
			r := newRepo()
			put(t, r)
			if _, err := Verify(t.Context(), p, r, testName, subject); err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("a good one after bad ones", func(t *testing.T) {
		r := newRepo()
		simple(simpleText("other.example/x", subject.String(), simplePayload))(t, r)
		bundle(fine)(t, r)
		if evidence, err := Verify(t.Context(), p, r, testName, subject); err != nil || evidence.Format != FormatBundle {
			t.Errorf("%+v, %v", evidence, err)
		}
	})
}

// TestManySignatures: a registry that lists thousands is asked for few.
func TestManySignatures(t *testing.T) {
	s := ecdsaSigner(t, elliptic.P256(), crypto.SHA256)
	p := trusting(t, "registry.example", s.key)
	r := newRepo()
	var layers, referrers []ocispec.Descriptor
	for i := range 1000 {
		d := r.putBlob(fmt.Appendf(nil, "%d", i))
		layers = append(layers, ocispec.Descriptor{MediaType: simpleType, Digest: d, Size: int64(len(r.blobs[d]))})
		desc := r.putManifest(t, fmt.Sprint("r", i), ocispec.Manifest{Versioned: v2, ArtifactType: bundleType, Subject: &ocispec.Descriptor{Digest: subject}, Config: ocispec.Descriptor{Size: int64(i)}})
		desc.ArtifactType = bundleType
		referrers = append(referrers, desc)
	}
	r.putManifest(t, signatureTag(subject), ocispec.Manifest{Versioned: v2, Layers: layers})
	r.putManifest(t, "sha256-"+subject.Encoded(), ocispec.Index{Versioned: v2, Manifests: referrers})
	if _, err := Verify(t.Context(), p, r, testName, subject); !errors.Is(err, trust.ErrUntrusted) || r.asked > maxSignatures+maxReferrers+5 {
		t.Errorf("asked %d times: %v", r.asked, err)
	}
}

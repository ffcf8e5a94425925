package fetch

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantryrun/gantry/image"
	"github.com/gantryrun/gantry/image/order"
	"github.com/gantryrun/gantry/image/signature"
	"github.com/gantryrun/gantry/image/trust"
)

// cosigner signs as cosign does, in both of its formats.
type cosigner struct {
	private *ecdsa.PrivateKey
	reg     *faultRegistry
}

func newCosigner(t *testing.T, reg *faultRegistry) cosigner {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return cosigner{private, reg}
}

func (s cosigner) key(t *testing.T) trust.Key {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(s.private.Public())
	if err != nil {
		t.Fatal(err)
	}
	key, err := signature.ParseKey(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	if err != nil {
		t.Fatal(err)
	}
	return key.Key
}

// policy trusts the key for one prefix.
func (s cosigner) policy(t *testing.T, prefix string) *trust.Policy {
	t.Helper()
	dir := t.TempDir()
	if _, err := trust.Add(dir, prefix, s.key(t)); err != nil {
		t.Fatal(err)
	}
	p, err := trust.Load([]string{dir})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (s cosigner) sign(t *testing.T, message string) string {
	t.Helper()
	sum := sha256.Sum256([]byte(message))
	sig, err := ecdsa.SignASN1(rand.Reader, s.private, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(sig)
}

func (s cosigner) put(t *testing.T, path, mediaType string, data []byte) {
	t.Helper()
	req := httptest.NewRequestWithContext(t.Context(), http.MethodPut, path, bytes.NewReader(data))
	req.Header.Set("Content-Type", mediaType)
	w := httptest.NewRecorder()
	s.reg.inner.ServeHTTP(w, req)
	if w.Code != http.StatusCreated {
		t.Fatalf("PUT %s: %d %s", path, w.Code, w.Body)
	}
}

func (s cosigner) blob(t *testing.T, repository, data, mediaType string) ocispec.Descriptor {
	t.Helper()
	w := httptest.NewRecorder()
	s.reg.inner.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v2/"+repository+"/blobs/uploads/", nil))
	d := digest.FromString(data)
	s.put(t, w.Header().Get("Location")+"?digest="+d.String(), "application/octet-stream", []byte(data))
	return ocispec.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(data))}
}

func encode(t *testing.T, v any) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

var schema2 = specs.Versioned{SchemaVersion: 2}

func (s cosigner) simple(t *testing.T, repository, name string, subject digest.Digest) {
	t.Helper()
	text := fmt.Sprintf(`{"critical":{"identity":{"docker-reference":%q},"image":{"docker-manifest-digest":%q},"type":"cosign container image signature"},"optional":null}`, name, subject)
	layer := s.blob(t, repository, text, "application/vnd.dev.cosign.simplesigning.v1+json")
	layer.Annotations = map[string]string{"dev.cosignproject.cosign/signature": s.sign(t, text)}
	config := s.blob(t, repository, "{}", ocispec.MediaTypeImageConfig)
	s.put(t, "/v2/"+repository+"/manifests/sha256-"+subject.Encoded()+".sig", ocispec.MediaTypeImageManifest,
		encode(t, ocispec.Manifest{Versioned: schema2, MediaType: ocispec.MediaTypeImageManifest, Config: config, Layers: []ocispec.Descriptor{layer}}))
}

// bundle pushes a referrer; the registry lists it, or the fallback tag does.
func (s cosigner) bundle(t *testing.T, repository string, subject digest.Digest, tagged bool) {
	t.Helper()
	const bundleType, payloadType = "application/vnd.dev.sigstore.bundle.v0.3+json", "application/vnd.in-toto+json"
	statement := fmt.Sprintf(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":%q}}],"predicateType":"https://sigstore.dev/cosign/sign/v1","predicate":{}}`, subject.Encoded())
	text := fmt.Sprintf(`{"mediaType":%q,"verificationMaterial":{"publicKey":{"hint":"x"}},"dsseEnvelope":{"payload":%q,"payloadType":%q,"signatures":[{"sig":%q}]}}`,
		bundleType, base64.StdEncoding.EncodeToString([]byte(statement)), payloadType,
		s.sign(t, fmt.Sprintf("DSSEv1 %d %s %d %s", len(payloadType), payloadType, len(statement), statement)))
	raw := encode(t, ocispec.Manifest{
		Versioned: schema2, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: bundleType,
		Config:  s.blob(t, repository, "{}", ocispec.MediaTypeEmptyJSON),
		Layers:  []ocispec.Descriptor{s.blob(t, repository, text, bundleType)},
		Subject: &ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: subject, Size: 1},
	})
	d := digest.FromBytes(raw)
	s.put(t, "/v2/"+repository+"/manifests/"+d.String(), ocispec.MediaTypeImageManifest, raw)
	if tagged {
		s.put(t, "/v2/"+repository+"/manifests/sha256-"+subject.Encoded(), ocispec.MediaTypeImageIndex, encode(t, ocispec.Index{
			Versioned: schema2, MediaType: ocispec.MediaTypeImageIndex,
			Manifests: []ocispec.Descriptor{{MediaType: ocispec.MediaTypeImageManifest, ArtifactType: bundleType, Digest: d, Size: int64(len(raw))}},
		}))
	}
}

func digestOf(t *testing.T, img interface{ Digest() (v1.Hash, error) }) digest.Digest {
	t.Helper()
	h, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return digest.Digest(h.String())
}

// TestFetchSigned: what is signed comes in with its evidence; what is not leaves nothing.
func TestFetchSigned(t *testing.T) {
	for name, tc := range map[string]struct {
		sign   func(t *testing.T, s cosigner, repository, name string, d digest.Digest)
		api    bool
		format string
	}{
		"simple": {func(t *testing.T, s cosigner, repository, name string, d digest.Digest) {
			s.simple(t, repository, name, d)
		}, false, signature.FormatSimple},
		"bundle, fallback tag": {func(t *testing.T, s cosigner, repository, _ string, d digest.Digest) {
			s.bundle(t, repository, d, true)
		}, false, signature.FormatBundle},
		"bundle, referrers": {func(t *testing.T, s cosigner, repository, _ string, d digest.Digest) {
			s.bundle(t, repository, d, false)
		}, true, signature.FormatBundle},
		"unsigned": {func(*testing.T, cosigner, string, string, digest.Digest) {}, true, ""},
		"other name": {func(t *testing.T, s cosigner, repository, name string, d digest.Digest) {
			s.simple(t, repository, name+"2", d)
		}, true, ""},
		"other image": {func(t *testing.T, s cosigner, repository, name string, _ digest.Digest) {
			s.simple(t, repository, name, digest.FromString("x"))
		}, true, ""},
		"other key": {func(t *testing.T, s cosigner, repository, name string, d digest.Digest) {
			newCosigner(t, s.reg).simple(t, repository, name, d)
		}, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			reg := newRegistry(t)
			reg.inner = registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(tc.api))
			img := newImage(t, gzLayer(t, "a", "a"))
			ref := reg.push(t, "team/app:v1", img)
			s, c := newCosigner(t, reg), newClient(t)
			c.Trust = s.policy(t, reg.host()+"/team")
			tc.sign(t, s, "team/app", reg.host()+"/team/app", digestOf(t, img))
			got, err := c.Fetch(t.Context(), ref, order.Options{})
			if tc.format == "" {
				if !errors.Is(err, trust.ErrUntrusted) {
					t.Fatalf("got %v, %v", got, err)
				}
				if list, err := os.ReadDir(c.Store.Dir()); err != nil || len(list) != 0 {
					t.Errorf("left in the store: %v, %v", list, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if e := got.Evidence; e.Format != tc.format || e.Key != s.key(t).Fingerprint || e.Subject != got.ID.String() {
				t.Errorf("evidence is %+v", e)
			}
			checkStored(t, c.Store, got, ref)
			if _, err := c.Fetch(t.Context(), mustRef(t, ref.Registry+"/"+ref.Repository+"@"+got.ID.String()), order.Options{}); err != nil {
				t.Errorf("by digest: %v", err)
			}
		})
	}
}

// TestFetchSignedIndex: a signature over the index covers the image that is chosen from it; so does one over the image.
func TestFetchSignedIndex(t *testing.T) {
	reg := newRegistry(t)
	s := newCosigner(t, reg)
	img := newImage(t, gzLayer(t, "a", "a"))
	index := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex),
		mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}})
	for repository, subject := range map[string]digest.Digest{"by/index": digestOf(t, index), "by/image": digestOf(t, img)} {
		ref := mustRef(t, reg.host()+"/"+repository+":v1")
		tag, err := name.NewTag(ref.String())
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.WriteIndex(tag, index); err != nil {
			t.Fatal(err)
		}
		s.simple(t, repository, reg.host()+"/"+repository, subject)
		c := newClient(t)
		c.Trust = s.policy(t, reg.host())
		if got, err := c.Fetch(t.Context(), ref, order.Options{}); err != nil || got.Evidence.Subject != subject.String() {
			t.Errorf("%s: %+v, %v", repository, got, err)
		}
	}
}

// TestManifestSwitched: a registry that answers differently when it is asked again cannot have the one verified and the
// other used: what was read first is what is verified and stored.
func TestManifestSwitched(t *testing.T) {
	reg := newRegistry(t)
	s := newCosigner(t, reg)
	good, evil := newImage(t, gzLayer(t, "a", "good")), newImage(t, gzLayer(t, "a", "evil"))
	ref := reg.push(t, "app:v1", good)
	reg.push(t, "app:v2", evil)
	s.simple(t, "app", reg.host()+"/app", digestOf(t, good))
	asked := 0
	reg.on(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/manifests/v1") {
			if asked++; asked > 1 {
				r.URL.Path = strings.Replace(r.URL.Path, "v1", "v2", 1)
			}
		}
		return false
	})
	c := newClient(t)
	c.Trust = s.policy(t, reg.host())
	img, err := c.Fetch(t.Context(), ref, order.Options{})
	if err != nil || img.ID != digestOf(t, good) {
		t.Fatalf("got %v, %v", img, err)
	}
	if _, err := c.Fetch(t.Context(), ref, order.Options{}); !errors.Is(err, trust.ErrUntrusted) {
		t.Errorf("the switched one: %v", err)
	}
	if stored, err := c.Store.Get(t.Context(), ref); err != nil || stored.ID != img.ID {
		t.Errorf("stored is %v, %v", stored, err)
	}
}

// TestSignatureFaults: a registry that fails where signatures are asked for gets nothing past, in bounded time and space.
func TestSignatureFaults(t *testing.T) {
	endless := func(w http.ResponseWriter) {
		chunk := bytes.Repeat([]byte(" "), 1<<16)
		for {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	}
	for name, fault := range map[string]func(w http.ResponseWriter){
		"404":       func(w http.ResponseWriter) { w.WriteHeader(http.StatusNotFound) },
		"401":       func(w http.ResponseWriter) { w.WriteHeader(http.StatusUnauthorized) },
		"500":       func(w http.ResponseWriter) { w.WriteHeader(http.StatusInternalServerError) },
		"no JSON":   func(w http.ResponseWriter) { fmt.Fprint(w, "<html>") },
		"cut":       func(w http.ResponseWriter) { w.Header().Set("Content-Length", "100"); fmt.Fprint(w, "{") },
		"endless":   endless,
		"elsewhere": func(w http.ResponseWriter) { w.Header().Set("Location", "http://[fe80::1]/"); w.WriteHeader(302) },
	} {
		for _, where := range []string{".sig", "/referrers/"} {
			t.Run(name+" at "+where, func(t *testing.T) {
				reg := newRegistry(t)
				ref := reg.push(t, "app:v1", newImage(t, gzLayer(t, "a", "a")))
				c := newClient(t)
				c.backoff = 1
				c.Trust = newCosigner(t, reg).policy(t, reg.host())
				reg.on(func(w http.ResponseWriter, r *http.Request) bool {
					if !strings.Contains(r.URL.Path, where) {
						return false
					}
					fault(w)
					return true
				})
				if img, err := c.Fetch(t.Context(), ref, order.Options{}); err == nil {
					t.Errorf("accepted %v", img)
				}
				if list, err := os.ReadDir(c.Store.Dir()); err != nil || len(list) != 0 {
					t.Errorf("left in the store: %v, %v", list, err)
				}
			})
		}
	}
}

// TestRollback: a tag may go on, not back.
func TestRollback(t *testing.T) {
	reg, c := newRegistry(t), newClient(t)
	versions := []v1.Image{newImage(t, gzLayer(t, "v", "1")), newImage(t, gzLayer(t, "v", "2")), newImage(t, gzLayer(t, "v", "3"))}
	fetch := func(version int, opts order.Options) error {
		ref := reg.push(t, "app:v", versions[version-1])
		img, err := c.Fetch(t.Context(), ref, opts)
		if err == nil && img.ID != digestOf(t, versions[version-1]) {
			t.Errorf("version %d is %s", version, img.ID)
		}
		return err
	}
	for i, step := range []struct {
		version int
		opts    order.Options
		refused bool
	}{
		{1, order.Options{}, false}, {1, order.Options{}, false}, {2, order.Options{}, false}, {1, order.Options{}, true}, {2, order.Options{}, false},
		{3, order.Options{}, false}, {1, order.Options{}, true}, {2, order.Options{}, true}, {2, order.Options{AllowRollback: true}, false},
		{1, order.Options{}, true}, {3, order.Options{}, false}, {2, order.Options{}, true},
	} {
		err := fetch(step.version, step.opts)
		if step.refused != errors.Is(err, image.ErrRollback) || (err != nil && !step.refused) {
			t.Fatalf("step %d, version %d: %v", i, step.version, err)
		}
		if step.refused && (!strings.Contains(err.Error(), digestOf(t, versions[step.version-1]).String()) || strings.Count(err.Error(), "sha256:") < 2) {
			t.Errorf("step %d: error does not show both digests: %v", i, err)
		}
	}
	ref := reg.push(t, "app:v", versions[0])
	if _, err := c.Fetch(t.Context(), mustRef(t, ref.Registry+"/app@"+digestOf(t, versions[0]).String()), order.Options{}); err != nil {
		t.Errorf("by digest: %v", err)
	}
}

package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	inprocess "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// registryName is the registry's name in the lab.
const registryName = "registry.fleet.example"

// registry speaks TLS, has signed images, and can be down.
type registry struct {
	ca, public []byte // PEM: the authority, the key that signs images
	tls        *tls.Config
	pool       *x509.CertPool
	key        *ecdsa.PrivateKey
	handler    http.Handler
	server     *http.Server
}

func startRegistry() (*registry, error) {
	r := &registry{handler: inprocess.New(inprocess.Logger(log.New(io.Discard, "", 0)))}
	if err := r.certify(); err != nil {
		return nil, err
	}
	return r, r.start()
}

// certify makes an authority, the registry's certificate, and the key that signs images.
func (r *registry) certify() error {
	var keys [3]*ecdsa.PrivateKey
	for i := range keys {
		var err error
		if keys[i], err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return err
		}
	}
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "fleet authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	server := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: registryName}, DNSNames: []string{registryName},
		NotBefore: authority.NotBefore, NotAfter: authority.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	caDER, err := x509.CreateCertificate(rand.Reader, authority, authority, &keys[0].PublicKey, keys[0])
	if err != nil {
		return err
	}
	serverDER, err := x509.CreateCertificate(rand.Reader, server, authority, &keys[1].PublicKey, keys[0])
	if err != nil {
		return err
	}
	publicDER, err := x509.MarshalPKIXPublicKey(&keys[2].PublicKey)
	if err != nil {
		return err
	}
	r.ca = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER})
	r.public = pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: publicDER})
	r.pool = x509.NewCertPool()
	r.pool.AppendCertsFromPEM(r.ca)
	r.tls = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{serverDER}, PrivateKey: keys[1]}}, MinVersion: tls.VersionTLS12}
	r.key = keys[2]
	return nil
}

func (r *registry) start() error {
	l, err := net.Listen("tcp", gateway+":443")
	if err != nil {
		return err
	}
	r.server = &http.Server{Handler: r.handler, ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: time.Minute}
	go func() { _ = r.server.Serve(tls.NewListener(l, r.tls)) }()
	return nil
}

// stop takes the registry down, with all connections; what it has stays.
func (r *registry) stop() { _ = r.server.Close() }

// client reaches the registry by its name, which nobody resolves in the box.
func (r *registry) client() http.RoundTripper {
	return &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: r.pool, ServerName: registryName, MinVersion: tls.VersionTLS12},
		DialContext:     (&redirect{gateway + ":443"}).dial,
	}
}

// push stores an image and its signature, and returns its reference by digest.
func (r *registry) push(repository string, img v1.Image) (string, error) {
	ref, err := name.NewTag(registryName + "/" + repository + ":latest")
	if err != nil {
		return "", err
	}
	if err := remote.Write(ref, img, remote.WithTransport(r.client())); err != nil {
		return "", err
	}
	digest, err := img.Digest()
	if err != nil {
		return "", err
	}
	full := registryName + "/" + repository
	return full + "@" + digest.String(), r.sign(full, digest)
}

// sign stores a signature in cosign's format: an image whose layer says what is signed, under a tag made of the digest.
func (r *registry) sign(full string, digest v1.Hash) error {
	payload := fmt.Sprintf(`{"critical":{"identity":{"docker-reference":%q},"image":{"docker-manifest-digest":%q},"type":"cosign container image signature"},"optional":null}`,
		full, digest)
	sum := sha256.Sum256([]byte(payload))
	signature, err := r.key.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		return err
	}
	img, err := mutate.Append(mutate.MediaType(empty.Image, types.OCIManifestSchema1), mutate.Addendum{
		Layer:       static.NewLayer([]byte(payload), "application/vnd.dev.cosign.simplesigning.v1+json"),
		Annotations: map[string]string{"dev.cosignproject.cosign/signature": base64.StdEncoding.EncodeToString(signature)},
	})
	if err != nil {
		return err
	}
	tag, err := name.NewTag(full + ":" + strings.ReplaceAll(digest.String(), ":", "-") + ".sig")
	if err != nil {
		return err
	}
	return remote.Write(tag, mutate.ConfigMediaType(img, types.OCIConfigJSON), remote.WithTransport(r.client()))
}

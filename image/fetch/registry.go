package fetch

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantryrun/gantry/image"
)

// repository is one of a registry, spoken to through ggcr's transport, which knows pings and tokens.
type repository struct {
	endpoint endpoint
	ref      image.Ref
	client   *http.Client
	guard    *guard
	pace     pace
}

// dial connects: it finds out whether TLS is spoken and how the registry authenticates.
func dial(ctx context.Context, e endpoint, ref image.Ref, auth authn.Authenticator, p pace) (*repository, error) {
	g, err := newTransport(e, p.stall)
	if err != nil {
		return nil, err
	}
	var opts []name.Option
	if e.plain() {
		opts = append(opts, name.Insecure)
	}
	reg, err := name.NewRegistry(e.host, opts...)
	if err != nil {
		return nil, fmt.Errorf("registry %q: %w", e.host, err)
	}
	rt, err := transport.NewWithContext(ctx, reg, auth, transport.NewUserAgent(&retrier{g, p}, "gantry"),
		[]string{reg.Repo(e.repository).Scope(transport.PullScope)})
	if err != nil {
		g.http.CloseIdleConnections()
		return nil, explain(e, err)
	}
	e.host = reg.RegistryStr() // docker.io's servers have another name
	return &repository{endpoint: e, ref: ref, client: newHTTPClient(rt), guard: g, pace: p}, nil
}

func (r *repository) close() error {
	r.guard.http.CloseIdleConnections()
	return nil
}

func (r *repository) url(kind, id string) string {
	return fmt.Sprintf("https://%s/v2/%s/%s/%s", r.endpoint.host, r.endpoint.repository, kind, id)
}

func (r *repository) root(ctx context.Context) ([]byte, string, error) {
	if r.ref.Digest == "" {
		return r.getManifest(ctx, r.ref.Tag)
	}
	raw, mediaType, err := r.getManifest(ctx, r.ref.Digest.String())
	if err != nil {
		return nil, "", err
	}
	if got := digest.FromBytes(raw); got != r.ref.Digest {
		return nil, "", fmt.Errorf("%w: manifest has digest %s, expected %s", image.ErrVerify, got, r.ref.Digest)
	}
	return raw, mediaType, nil
}

func (r *repository) manifest(ctx context.Context, desc ocispec.Descriptor) ([]byte, string, error) {
	return r.getManifest(ctx, desc.Digest.String())
}

func (r *repository) getManifest(ctx context.Context, id string) ([]byte, string, error) {
	return r.get(ctx, "manifests", id, manifestTypes...)
}

// get asks for one small document of the repository.
func (r *repository) get(ctx context.Context, kind, id string, accept ...string) (raw []byte, mediaType string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url(kind, id), nil)
	if err != nil {
		return nil, "", err
	}
	req.Header.Set("Accept", strings.Join(accept, ", "))
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, "", explain(r.endpoint, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, "", explain(r.endpoint, transport.CheckError(resp, http.StatusOK))
	}
	raw, err = io.ReadAll(resp.Body) // the retrier has it already
	if err != nil {
		return nil, "", fmt.Errorf("%s %s: %w", kind, id, err)
	}
	return raw, resp.Header.Get("Content-Type"), nil
}

func (r *repository) blob(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	b := &blobReader{ctx: ctx, repo: r, desc: desc}
	if _, err := b.open(); err != nil {
		return nil, err
	}
	return b, nil
}

// explain makes one line of what a registry, or the way to it, says. Text of foreign origin is quoted.
func explain(e endpoint, err error) error {
	var status *transport.Error
	var dns *net.DNSError
	var certificate *tls.CertificateVerificationError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &certificate): // also where plain http was tried beside it, on loopback
		return fmt.Errorf("%w: %s: certificate: %s", image.ErrUnreachable, e.host, oneLine(certificate.Err.Error()))
	case errors.As(err, &status):
		return explainStatus(e, status)
	case errors.Is(err, errForbidden):
		return fmt.Errorf("%w: %s: %w", image.ErrUnreachable, e.host, err)
	case errors.Is(err, image.ErrLimit), errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, image.ErrStalled):
		return fmt.Errorf("%s: %w", e.host, err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w: %s: connection refused", image.ErrUnreachable, e.host)
	case errors.As(err, &dns):
		return fmt.Errorf("%w: %s: %s", image.ErrUnreachable, e.host, dns.Err)
	}
	return fmt.Errorf("%w: %s: %s", image.ErrUnreachable, e.host, oneLine(err.Error()))
}

func explainStatus(e endpoint, status *transport.Error) error {
	said := ""
	if len(status.Errors) > 0 {
		said = fmt.Sprintf(": it says %s", oneLine(string(status.Errors[0].Code)+": "+status.Errors[0].Message))
	}
	switch status.StatusCode {
	case http.StatusNotFound:
		return fmt.Errorf("%w: registry %s has no such %s%s", image.ErrNotFound, e.host, kindOf(status.Request), said)
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("%w: %s: status %d%s", image.ErrDenied, e.host, status.StatusCode, said)
	default:
		return fmt.Errorf("%w: %s: status %d%s", image.ErrUnreachable, e.host, status.StatusCode, said)
	}
}

func kindOf(req *http.Request) string {
	if req != nil && strings.Contains(req.URL.Path, "/blobs/") {
		return "blob"
	}
	return "image"
}

// oneLine quotes text unless it is short, printable and of one line.
func oneLine(s string) string {
	const most = 300
	if len(s) > most {
		s = s[:most] + "…"
	}
	if q := fmt.Sprintf("%q", s); strings.ContainsAny(q, `\`) {
		return q
	}
	return s
}

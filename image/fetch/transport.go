package fetch

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"syscall"
	"time"

	"github.com/gantryrun/gantry/image"
)

// Time-outs of a connection. A body may take any time as long as bytes come: see stallReader.
const (
	dialTimeout     = 20 * time.Second
	tlsTimeout      = 20 * time.Second
	maxRedirects    = 10
	maxErrorBody    = 1 << 20
	socketReadBytes = 64 << 10
)

// endpoint is one host that serves a repository, and how it may be spoken to.
type endpoint struct {
	host       string // host[:port]
	repository string
	plainHTTP  bool   // allowed, not required
	anyCert    bool   // certificates unchecked
	ca         string // PEM file, added to the system's
	mirror     bool
}

// plain says whether the endpoint may be spoken to without TLS.
func (e endpoint) plain() bool { return e.plainHTTP || isLoopback(hostname(e.host)) }

func hostname(hostport string) string {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		return host
	}
	if n := len(hostport); n > 2 && hostport[0] == '[' && hostport[n-1] == ']' {
		return hostport[1 : n-1]
	}
	return hostport
}

// isLoopback by name alone: what the resolver says is not asked, since it may be told otherwise.
func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || (err == nil && addr.Unmap().IsLoopback())
}

// newTransport makes the bottom of the HTTP stack of one endpoint: connections, and above them the guard.
func newTransport(e endpoint, stall time.Duration) (*guard, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: e.anyCert} //nolint:gosec // only when the user says so
	if e.ca != "" {
		pool, err := x509.SystemCertPool()
		if err != nil {
			return nil, fmt.Errorf("read system certificates: %w", err)
		}
		pem, err := os.ReadFile(e.ca)
		if err != nil {
			return nil, fmt.Errorf("read CA of registry %s: %w", e.host, err)
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read CA of registry %s: no certificate in %s", e.host, e.ca)
		}
		config.RootCAs = pool
	}
	dialer := &net.Dialer{Timeout: dialTimeout, Control: noLinkLocal(e)}
	return &guard{endpoint: e, http: &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           dialer.DialContext,
		TLSClientConfig:       config,
		TLSHandshakeTimeout:   tlsTimeout,
		ResponseHeaderTimeout: stall,
		ForceAttemptHTTP2:     true,
		MaxIdleConnsPerHost:   parallelLayers,
		IdleConnTimeout:       time.Minute,
		ReadBufferSize:        socketReadBytes,
		// What is hashed has to be what was sent, so no transparent gunzip.
		DisableCompression: true,
	}}, nil
}

// noLinkLocal keeps redirects and names from leading to a cloud's metadata service, which knows the machine's secrets.
// Addresses are judged when they are dialled, after the resolver: a name can be pointed anywhere.
func noLinkLocal(e endpoint) func(network, address string, _ syscall.RawConn) error {
	return func(_, address string, _ syscall.RawConn) error {
		addr, err := netip.ParseAddrPort(address)
		if err == nil && addr.Addr().Unmap().IsLinkLocalUnicast() && hostname(e.host) != addr.Addr().String() {
			return fmt.Errorf("%w: %s is a link-local address", errForbidden, address)
		}
		return nil
	}
}

// errForbidden: a request that must not be made.
var errForbidden = errors.New("forbidden request")

// guard is the one place that every request passes on its way out, those of redirects, token servers and pings too.
type guard struct {
	endpoint endpoint
	http     *http.Transport
}

type blobKey struct{}

// RoundTrip refuses plain http where it was not allowed, and bounds every body but a blob's, which has its own count.
func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != "https" && !g.mayBePlain(req.URL) {
		return nil, fmt.Errorf("%w: plain http to %s (--insecure-options=http allows it)", errForbidden, req.URL.Host)
	}
	resp, err := g.http.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	limit := int64(maxManifest)
	if resp.StatusCode >= 400 {
		limit = maxErrorBody
	} else if req.Context().Value(blobKey{}) != nil {
		return resp, nil
	}
	capped := &cappedReader{r: resp.Body, left: limit, err: fmt.Errorf(
		"%w: %s %s sends more than %d bytes", image.ErrLimit, req.Method, req.URL.Redacted(), limit)}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{capped, resp.Body}
	return resp, nil
}

// mayBePlain: the endpoint itself and its blob store, if the endpoint may be spoken to in plain; loopback otherwise
// only if the endpoint is there too.
func (g *guard) mayBePlain(u *url.URL) bool {
	if g.endpoint.plainHTTP {
		return true
	}
	return isLoopback(hostname(g.endpoint.host)) && isLoopback(u.Hostname())
}

// newHTTPClient puts redirect rules above a transport.
func newHTTPClient(rt http.RoundTripper) *http.Client {
	return &http.Client{Transport: rt, CheckRedirect: func(req *http.Request, via []*http.Request) error {
		last := via[len(via)-1].URL
		switch {
		case len(via) >= maxRedirects:
			return fmt.Errorf("%w: more than %d redirects", errForbidden, maxRedirects)
		case req.URL.Scheme != "https" && (req.URL.Scheme != "http" || last.Scheme == "https"):
			return fmt.Errorf("%w: redirect from %s to %s", errForbidden, last.Scheme, req.URL.Scheme)
		}
		// net/http gives each request the headers of the first, and compares names only: a subdomain or port is another server.
		if req.URL.Host != via[0].URL.Host {
			req.Header.Del("Authorization")
			req.Header.Del("Cookie")
		}
		return nil
	}}
}

// wait sleeps, unless ctx ends.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

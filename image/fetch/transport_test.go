package fetch

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"

	"github.com/gantryrun/gantry/image"
	"github.com/gantryrun/gantry/image/order"
)

// brokenBlob serves a blob badly, request by request.
type brokenBlob struct {
	blob  []byte
	serve []func(w http.ResponseWriter, r *http.Request, blob []byte)
	n     int
}

func (b *brokenBlob) fault(d digest.Digest) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, d.String()) || b.n >= len(b.serve) {
			return false
		}
		b.n++
		b.serve[b.n-1](w, r, b.blob)
		return true
	}
}

// cut sends n bytes, promises all, and hangs up.
func cut(n int) func(http.ResponseWriter, *http.Request, []byte) {
	return func(w http.ResponseWriter, _ *http.Request, blob []byte) {
		w.Header().Set("Content-Length", strconv.Itoa(len(blob)))
		_, _ = w.Write(blob[:n])
		panic(http.ErrAbortHandler)
	}
}

// status answers with a status and a header.
func status(code int, key, value string) func(http.ResponseWriter, *http.Request, []byte) {
	return func(w http.ResponseWriter, _ *http.Request, _ []byte) {
		w.Header().Set(key, value)
		w.WriteHeader(code)
	}
}

// ranged goes on from where the client asks; it may say something else.
func ranged(contentRange string) func(http.ResponseWriter, *http.Request, []byte) {
	return func(w http.ResponseWriter, r *http.Request, blob []byte) {
		var from int
		if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		if contentRange == "" {
			contentRange = fmt.Sprintf("bytes %d-%d/%d", from, len(blob)-1, len(blob))
		}
		w.Header().Set("Content-Range", contentRange)
		w.Header().Set("Content-Length", strconv.Itoa(len(blob)-from))
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(blob[from:])
	}
}

// whole sends everything, whatever the client asked for.
func whole(w http.ResponseWriter, _ *http.Request, blob []byte) { _, _ = w.Write(blob) }

// stall sends n bytes and nothing more.
func stall(n int) func(http.ResponseWriter, *http.Request, []byte) {
	return func(w http.ResponseWriter, r *http.Request, blob []byte) {
		w.Header().Set("Content-Length", strconv.Itoa(len(blob)))
		_, _ = w.Write(blob[:n])
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}
}

func TestBlobFaults(t *testing.T) {
	reg := newRegistry(t)
	plain := tarOf(t, "a", numbered(2<<20))
	blob := gz(t, plain)
	ref := reg.push(t, "app:v1", newImage(t, newLayer(blob, plain, types.OCILayer)))
	half := len(blob) / 2
	wrong := bytes.Clone(blob)
	wrong[half] ^= 1
	type faults []func(http.ResponseWriter, *http.Request, []byte)
	for name, tc := range map[string]struct {
		serve faults
		want  error
		sent  int
	}{
		"cut, then continued":    {faults{cut(half), ranged("")}, nil, 2},
		"cut four times":         {faults{cut(half), ranged(""), ranged("")}, nil, 2},
		"cut, no ranges":         {faults{cut(half), whole}, nil, 2},
		"cut and cut, no ranges": {faults{cut(half), cut(half + 1), cut(half + 2), whole}, io.ErrUnexpectedEOF, 3},
		"cut, other range":       {faults{cut(half), ranged("bytes 0-9/10")}, image.ErrVerify, 2},
		"cut, wrong bytes after": {faults{cut(half), func(w http.ResponseWriter, _ *http.Request, _ []byte) {
			whole(w, nil, append(wrong[:half:half], wrong[half:]...))
		}}, image.ErrVerify, 2},
		"cut before the first byte":   {faults{cut(0), whole}, nil, 2},
		"busy, then served":           {faults{status(429, "Retry-After", "0"), status(503, "Retry-After", "junk"), whole}, nil, 3},
		"bad gateway, then served":    {faults{status(502, "", ""), whole}, nil, 2},
		"busy for ever":               {faults{status(503, "Retry-After", "1"), status(503, "", ""), status(503, "", ""), status(503, "", "")}, image.ErrUnreachable, 4},
		"gone":                        {faults{status(404, "", "")}, image.ErrNotFound, 1},
		"range that nobody asked for": {faults{status(206, "Content-Range", "bytes 0-1/2")}, nil, 1},
		"length says more":            {faults{status(200, "Content-Length", "99999999")}, image.ErrVerify, 1},
		"stalls":                      {faults{stall(half)}, image.ErrStalled, 1},
		"redirect loop":               {faults{redirect, redirect, redirect, redirect, redirect, redirect, redirect, redirect, redirect, redirect, redirect, redirect}, errForbidden, 10},
		"encoded, says the registry only": {faults{func(w http.ResponseWriter, r *http.Request, b []byte) {
			w.Header().Set("Content-Encoding", "gzip")
			whole(w, r, b)
		}}, nil, 1},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t)
			c.Stall, c.backoff = 20*time.Second, time.Millisecond
			if errors.Is(tc.want, image.ErrStalled) {
				c.Stall = 3 * time.Second // what comes before the blob has to answer in it, too
			}
			b := &brokenBlob{blob: blob, serve: tc.serve}
			d := digest.FromBytes(blob)
			reg.on(b.fault(d))
			_, err := c.Fetch(t.Context(), ref, order.Options{})
			ok := tc.want == nil && name != "range that nobody asked for"
			if ok != (err == nil) || (tc.want != nil && !errors.Is(err, tc.want)) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
			if n := reg.requests(d.String()); n > tc.sent+2 {
				t.Errorf("%d requests for the blob", n)
			}
			if err != nil {
				wantEmpty(t, c.Store)
			}
		})
	}
}

func redirect(w http.ResponseWriter, r *http.Request, _ []byte) {
	http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "5": 5 * time.Second, "junk": 0, "-1": 0, "1.5": 0,
		"Fri, 02 Jan 2026 03:04:35 GMT": 30 * time.Second, "Fri, 02 Jan 2026 03:04:00 GMT": 0,
	} {
		if got := retryAfter(value, now); got != want {
			t.Errorf("Retry-After: %q gives %s, want %s", value, got, want)
		}
	}
}

// recorder is another host, that notes who comes with what.
type recorder struct {
	*httptest.Server
	mu       sync.Mutex
	requests []http.Header
}

func newRecorder(t *testing.T, answer http.HandlerFunc) *recorder {
	rec := &recorder{}
	rec.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec.mu.Lock()
		rec.requests = append(rec.requests, r.Header.Clone())
		rec.mu.Unlock()
		if answer != nil {
			answer(w, r)
		}
	}))
	t.Cleanup(rec.Close)
	return rec
}

func (r *recorder) sawCredentials() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, h := range r.requests {
		if h.Get("Authorization") != "" || h.Get("Cookie") != "" {
			return true
		}
	}
	return false
}

func TestF5CredentialsStay(t *testing.T) {
	reg := newRegistry(t)
	layer := gzLayer(t, "a", "a")
	ref := reg.push(t, "app:v1", newImage(t, layer))
	authFile(t, reg.host(), "user", "secret")
	for _, part := range []string{"/manifests/", "/blobs/"} {
		t.Run(part, func(t *testing.T) {
			other := newRecorder(t, func(w http.ResponseWriter, r *http.Request) { reg.inner.ServeHTTP(w, r) })
			sent := false
			reg.on(func(w http.ResponseWriter, r *http.Request) bool {
				user, secret, ok := r.BasicAuth()
				if !ok || user != "user" || secret != "secret" {
					w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
					w.WriteHeader(http.StatusUnauthorized)
					return true
				}
				sent = true
				if strings.Contains(r.URL.Path, part) {
					http.Redirect(w, r, other.URL+r.URL.Path, http.StatusTemporaryRedirect)
					return true
				}
				return false
			})
			if _, err := newClient(t).Fetch(t.Context(), ref, order.Options{}); err != nil {
				t.Fatal(err)
			}
			if !sent || len(other.requests) == 0 {
				t.Fatal("the test does not test: no credentials, or no redirect")
			}
			if other.sawCredentials() {
				t.Error("credentials went to another port")
			}
		})
	}
}

func TestF5ForeignURLs(t *testing.T) {
	reg, c := newRegistry(t), newClient(t)
	layer := gzLayer(t, "a", "a")
	ref := reg.push(t, "app:v1", newImage(t, layer))
	other := newRecorder(t, nil)
	reg.rewrite(t, ref, func(m map[string]any) string {
		desc := m["layers"].([]any)[0].(map[string]any)
		desc["urls"] = []string{other.URL + "/layer"}
		desc["mediaType"] = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
		return ""
	})
	if _, err := c.Fetch(t.Context(), ref, order.Options{}); err != nil {
		t.Error(err)
	}
	if len(other.requests) != 0 {
		t.Error("a URL that the manifest named was followed")
	}
}

func TestF5TokenRealm(t *testing.T) {
	reg := newRegistry(t)
	ref := reg.push(t, "app:v1", newImage(t, gzLayer(t, "a", "a")))
	authFile(t, reg.host(), "user", "secret")
	other := newRecorder(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"token":"x"}`) })
	for _, realm := range []string{other.URL + "/token", "http://169.254.169.254/latest", "ftp://127.0.0.1/x", "file:///etc/passwd"} {
		c := newClient(t)
		reg.on(func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+realm+`",service="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return true
		})
		if _, err := c.Fetch(t.Context(), ref, order.Options{}); err == nil {
			t.Errorf("realm %q: fetched", realm)
		}
	}
	if other.sawCredentials() {
		t.Error("credentials went to a realm on another port of this host")
	}
}

func TestNoPlainHTTP(t *testing.T) {
	plain := newRecorder(t, nil)
	// A name that leads to loopback but is not called so: https is refused there, and http must not be tried.
	_, port, _ := strings.Cut(strings.TrimPrefix(plain.URL, "http://"), ":")
	ref := mustRef(t, "127.0.0.1.nip.invalid:"+port+"/app")
	if _, err := newClient(t).Fetch(t.Context(), ref, order.Options{}); !errors.Is(err, image.ErrUnreachable) {
		t.Errorf("got %v", err)
	}
	g, err := newTransport(endpoint{host: "10.0.0.1:5000"}, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	for _, url := range []string{"http://10.0.0.1:5000/v2/", "http://127.0.0.1/x", "http://reg.example/"} {
		req := httptest.NewRequest(http.MethodGet, url, nil)
		if _, err := g.RoundTrip(req); !errors.Is(err, errForbidden) {
			t.Errorf("%s: got %v", url, err)
		}
	}
	if len(plain.requests) != 0 {
		t.Error("plain http was spoken")
	}
}

func TestLinkLocalIsRefused(t *testing.T) {
	control := noLinkLocal(endpoint{host: "reg.example"})
	for address, refused := range map[string]bool{
		"169.254.169.254:80": true, "[fe80::1]:443": true, "[::ffff:169.254.169.254]:80": true, "127.0.0.1:5000": false, "192.0.2.1:443": false,
	} {
		if err := control("tcp", address, nil); (err != nil) != refused {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestTLS(t *testing.T) {
	reg := newRegistry(t)
	ref := reg.push(t, "app:v1", newImage(t, gzLayer(t, "a", "a")))
	secure := httptest.NewTLSServer(reg)
	t.Cleanup(secure.Close)
	ref.Registry = strings.TrimPrefix(secure.URL, "https://")
	if _, err := newClient(t).Fetch(t.Context(), ref, order.Options{}); !errors.Is(err, image.ErrUnreachable) {
		t.Errorf("unknown certificate: got %v", err)
	}
	c := newClient(t)
	c.InsecureTLS = true
	if _, err := c.Fetch(t.Context(), ref, order.Options{}); err != nil {
		t.Errorf("with --insecure-options=tls: %v", err)
	}
}

func TestRedirectToPlain(t *testing.T) {
	reg := newRegistry(t)
	ref := reg.push(t, "app:v1", newImage(t, gzLayer(t, "a", "a")))
	secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/blobs/") {
			http.Redirect(w, r, reg.URL+r.URL.Path, http.StatusTemporaryRedirect)
			return
		}
		reg.inner.ServeHTTP(w, r)
	}))
	t.Cleanup(secure.Close)
	ref.Registry = strings.TrimPrefix(secure.URL, "https://")
	reg.on(nil)
	c := newClient(t)
	c.InsecureTLS = true
	if _, err := c.Fetch(t.Context(), ref, order.Options{}); !errors.Is(err, errForbidden) {
		t.Errorf("redirect from https to http: got %v", err)
	}
	if n := reg.requests("/blobs/"); n > 0 {
		t.Errorf("%d requests in plain", n)
	}
}

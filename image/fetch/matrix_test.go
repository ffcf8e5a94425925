package fetch

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/gantryrun/gantry/image/order"
	"github.com/gantryrun/gantry/tests/craft"
)

// The fault registry: one thing goes wrong where one object is asked for, and the fetch gets over it or fails with a
// clear line, in bounded time, with nothing left. Columns of the matrix:
var objects = []string{"manifest", "config", "layer", "token", "signature"}

// fault answers the n-th request (from 1) for an object whose bytes are body; false lets the registry answer.
type fault func(m *matrix, w http.ResponseWriter, r *http.Request, body []byte, n int) bool

// once is a fault that passes.
func once(f fault) fault {
	return func(m *matrix, w http.ResponseWriter, r *http.Request, body []byte, n int) bool {
		return n == 1 && f(m, w, r, body, n)
	}
}

func answer(code int, header ...string) fault {
	return func(_ *matrix, w http.ResponseWriter, _ *http.Request, _ []byte, _ int) bool {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
		return true
	}
}

// send answers with other bytes.
func send(change func(body []byte) []byte, header ...string) fault {
	return func(_ *matrix, w http.ResponseWriter, _ *http.Request, body []byte, _ int) bool {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		_, _ = w.Write(change(body))
		return true
	}
}

// broken sends half of what it promised, and then does what after says to the connection.
func broken(after func(*net.TCPConn)) fault {
	return func(_ *matrix, w http.ResponseWriter, _ *http.Request, body []byte, _ int) bool {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body[:len(body)/2])
		w.(http.Flusher).Flush()
		conn, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			after(conn.(*net.TCPConn))
			conn.Close()
		}
		return true
	}
}

func reset(c *net.TCPConn) { _ = c.SetLinger(0) }
func quiet(*net.TCPConn)   {}

// mute hangs up before it says anything.
func mute(after func(*net.TCPConn)) fault {
	return func(_ *matrix, w http.ResponseWriter, _ *http.Request, _ []byte, _ int) bool {
		if conn, _, err := w.(http.Hijacker).Hijack(); err == nil {
			after(conn.(*net.TCPConn))
			conn.Close()
		}
		return true
	}
}

// slow sends everything, piece by piece, each within the time that a registry may be silent.
func slow(_ *matrix, w http.ResponseWriter, _ *http.Request, body []byte, _ int) bool {
	for piece := range slices.Chunk(body, len(body)/8+1) {
		_, _ = w.Write(piece)
		w.(http.Flusher).Flush()
		time.Sleep(30 * time.Millisecond)
	}
	return true
}

func stalled(part int) fault {
	return func(_ *matrix, w http.ResponseWriter, r *http.Request, body []byte, _ int) bool {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		if part > 0 {
			_, _ = w.Write(body[:len(body)/part])
			w.(http.Flusher).Flush()
		}
		select {
		case <-r.Context().Done():
		case <-time.After(time.Minute):
		}
		return true
	}
}

// expired has the token be refused from now on, until the client has a new one, in the middle of the object.
func expired(m *matrix, w http.ResponseWriter, r *http.Request, body []byte, n int) bool {
	m.mu.Lock()
	m.token = "second"
	m.mu.Unlock()
	return broken(quiet)(m, w, r, body, n)
}

func to(where func(m *matrix, path string) string) fault {
	return func(m *matrix, w http.ResponseWriter, r *http.Request, _ []byte, _ int) bool {
		w.Header().Set("Location", where(m, r.URL.Path))
		w.WriteHeader(http.StatusTemporaryRedirect)
		return true
	}
}

func flip(body []byte) []byte {
	c := bytes.Clone(body)
	c[len(c)/3] ^= 1
	return c
}

func same(body []byte) []byte { return body }

// matrix is a registry that wants a token and has a signed image.
type matrix struct {
	*craft.Site
	plain, other *httptest.Server
	away         *craft.Site // behind other
	signer       craft.Signer
	img          *craft.Image
	paths        map[string]string        // of objects
	elsewhere    func(name string) string // starts a server with a trouble of its own

	mu      sync.Mutex
	token   string
	trouble string // where that server is
	count   int
}

func newMatrix(t *testing.T) *matrix {
	t.Helper()
	m := &matrix{Site: &craft.Site{}, away: &craft.Site{}, signer: craft.NewSigner(), token: "first"}
	m.img = craft.NewImage(nil, craft.Gzipped(craft.Archive(craft.File("a", numbered(300_000)))))
	m.plain, m.other = httptest.NewServer(m.Site), httptest.NewServer(m.away)
	t.Cleanup(m.plain.Close)
	t.Cleanup(m.other.Close)
	for _, s := range []*craft.Site{m.Site, m.away} {
		s.Put("app", "1", m.img)
		text := craft.GoodSimple(m.host()+"/app", m.img.Digest())
		s.Simple("app", m.img.Digest(), text, m.signer.Sign(text))
		s.Page("/token", "application/json", []byte(`{"token":"first","padding":"`+strings.Repeat("x", 200)+`"}`))
	}
	m.paths = map[string]string{
		"manifest": "/v2/app/manifests/1", "config": "/v2/app/blobs/" + digest.FromBytes(m.img.Config).String(), "token": "/token",
		"signature": "/v2/app/manifests/" + strings.Replace(m.img.Digest(), ":", "-", 1) + ".sig",
	}
	for d := range m.img.Blobs {
		if path := "/v2/app/blobs/" + d; path != m.paths["config"] {
			m.paths["layer"] = path
		}
	}
	return m
}

func (m *matrix) host() string { return strings.TrimPrefix(m.plain.URL, "http://") }

// on has f happen to one object.
func (m *matrix) on(object string, f fault) {
	m.Hook(func(w http.ResponseWriter, r *http.Request) bool {
		m.mu.Lock()
		token := m.token
		m.mu.Unlock()
		if r.URL.Path != "/token" && r.Header.Get("Authorization") != "Bearer "+token {
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+m.plain.URL+`/token",service="x",scope="repository:app:pull"`)
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}
		if r.URL.Path == m.paths[object] {
			m.mu.Lock()
			m.count++
			n := m.count
			m.mu.Unlock()
			if f(m, w, r, m.body(object), n) {
				return true
			}
		}
		if r.URL.Path == "/token" {
			_, _ = io.WriteString(w, `{"token":"`+token+`"}`)
			return true
		}
		return false
	})
}

func (m *matrix) body(object string) []byte {
	w := httptest.NewRecorder()
	m.away.ServeHTTP(w, httptest.NewRequest(http.MethodGet, m.paths[object], nil))
	return w.Body.Bytes()
}

// fetchOne fetches under the fault and says what came of it: "" or the error.
func (m *matrix) fetchOne(t *testing.T, object string, f fault, ca string, stall time.Duration) error {
	t.Helper()
	m.on(object, f)
	c := newClient(t)
	c.Stall, c.backoff = stall, time.Millisecond
	c.Trust = cosignerPolicy(t, m.host(), m.signer.PublicPEM())
	c.ConfigDirs = []string{configDir(t, "registries.d/x.json", registries(`{"prefix":"`+m.host()+`","ca":"ca.pem"}`), "registries.d/ca.pem", ca,
		"auth.d/x.json", `{"kind":"auth","version":"v1","domains":["`+m.host()+`"],"type":"basic","credentials":{"user":"user","password":"secret"}}`)}
	start := time.Now()
	img, err := c.Fetch(t.Context(), mustRef(t, m.host()+"/app:1"), order.Options{Platform: "linux/amd64"})
	if took := time.Since(start); took > 2*time.Minute {
		t.Errorf("took %s", took)
	}
	if err == nil {
		if problems, err := c.Store.Verify(t.Context(), img); err != nil || len(problems) > 0 || img.ID.String() != m.img.Digest() || img.Evidence.Key == "" {
			t.Errorf("fetched %s with %v, %v", img.ID, problems, err)
		}
	} else {
		if text := err.Error(); strings.ContainsAny(text, "\n\x1b") || len(text) > 900 || !strings.Contains(text, "app:1") {
			t.Errorf("the error is no clear line: %q", text)
		}
		wantEmpty(t, c.Store)
	}
	for _, r := range m.away.Seen("") {
		if r.Header.Get("Authorization") != "" || r.Header.Get("Cookie") != "" {
			t.Errorf("credentials went to another server: %v", r.Header)
		}
	}
	if n := len(m.Seen("")); n > 40 {
		t.Errorf("%d requests", n)
	}
	return err
}

// outcome of a cell: 'r' recovers (or was never hurt), 'f' fails.
func outcome(err error) byte {
	if err != nil {
		return 'f'
	}
	return 'r'
}

// TestFaultMatrix: every fault × every object, with the outcome that each must have.
func TestFaultMatrix(t *testing.T) {
	ca, elsewhere := troubledServers(t)
	cells := 0
	for _, row := range faultRows() {
		stall := 20 * time.Second // a busy machine is no silent registry
		if strings.HasPrefix(row.name, "silent") {
			stall = 300 * time.Millisecond
		}
		t.Run(row.name, func(t *testing.T) {
			for i, object := range objects {
				cells++
				t.Run(object, func(t *testing.T) {
					t.Parallel()
					m := newMatrix(t)
					m.elsewhere = func(name string) string { return elsewhere(t, m, name) }
					err := m.fetchOne(t, object, row.fault, ca, stall)
					if got := outcome(err); got != row.want[i] {
						t.Errorf("outcome %c, want %c: %v", got, row.want[i], err)
					}
				})
			}
		})
	}
	t.Logf("%d cells: %d faults x %s", cells, len(faultRows()), strings.Join(objects, ", "))
}

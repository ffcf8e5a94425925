package fetch

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gantryrun/gantry/image/order"
	"github.com/gantryrun/gantry/image/signature"
	"github.com/gantryrun/gantry/image/trust"
)

type faultRow struct {
	name  string
	fault fault
	want  string // an outcome for each of objects: manifest, config, layer, token, signature
}

// faultRows is the matrix. What passes is got over, wherever it is safe to ask again; what does not is a clear line.
func faultRows() []faultRow {
	busy := func(code int, after string) fault { return once(answer(code, "Retry-After", after)) }
	date := time.Now().Add(1500 * time.Millisecond).UTC().Format(http.TimeFormat)
	cut := func(b []byte) []byte { return b[:len(b)-1] }
	more := func(b []byte) []byte { return append(bytes.Clone(b), 'x') }
	return []faultRow{
		{"no fault", func(*matrix, http.ResponseWriter, *http.Request, []byte, int) bool { return false }, "rrrrr"},
		{"cut off, once", once(broken(quiet)), "rrrrr"},
		{"cut off, always", broken(quiet), "fffff"},
		{"reset, once", once(broken(reset)), "rrrrr"},
		{"reset, always", broken(reset), "fffff"},
		{"hangs up before it answers, once", once(mute(quiet)), "rrrrr"},
		{"hangs up before it answers, always", mute(quiet), "fffff"},
		{"resets before it answers, once", once(mute(reset)), "rrrrr"},
		{"429 without a time", once(answer(429)), "rrrrr"},
		{"429 with seconds", busy(429, "1"), "rrrrr"},
		{"429 with a date", busy(429, date), "rrrrr"},
		{"429 with junk", busy(429, "soon"), "rrrrr"},
		{"429 with less than nothing", busy(429, "-5"), "rrrrr"},
		{"429, always", answer(429, "Retry-After", "0"), "fffff"},
		{"503 with seconds", busy(503, "1"), "rrrrr"},
		{"503, always", answer(503), "fffff"},
		{"500, once", once(answer(500)), "rrrrr"},
		{"500, always", answer(500), "fffff"},
		{"502, once", once(answer(502)), "rrrrr"},
		{"504, once", once(answer(504)), "rrrrr"},
		{"404", answer(404), "fffff"},
		{"403", answer(403), "fffff"},
		{"401 although there is a token", answer(401, "WWW-Authenticate", `Basic realm="x"`), "fffff"},
		{"token expires in the middle", once(expired), "rrrrr"},
		{"204 and nothing", answer(204), "fffff"},
		{"200 and nothing", send(func([]byte) []byte { return nil }), "fffff"},
		{"a page for people", send(func([]byte) []byte { return []byte("<html>log in</html>") }, "Content-Type", "text/html"), "fffff"},
		{"slow", slow, "rrrrr"},
		{"silent from the start", stalled(0), "fffff"},
		{"silent in the middle", stalled(2), "fffff"},
		{"a range that nobody asked for", answer(206, "Content-Range", "bytes 0-0/1"), "fffff"},
		{"cut off, then the wrong range", func(m *matrix, w http.ResponseWriter, r *http.Request, body []byte, n int) bool {
			if n == 1 {
				return broken(quiet)(m, w, r, body, n)
			}
			w.Header().Set("Content-Range", "bytes 0-9/10")
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(body)
			return true
		}, "fffff"},
		{"cut off, then no ranges", func(m *matrix, w http.ResponseWriter, r *http.Request, body []byte, n int) bool {
			if n == 1 {
				return broken(quiet)(m, w, r, body, n)
			}
			_, _ = w.Write(body)
			return true
		}, "rrrrr"},
		{"a byte is another", send(flip), "fffrf"}, // of what a token is not
		{"a byte is another, once", once(send(flip)), "fffrf"},
		{"a byte too few", send(cut), "fffff"},
		{"a byte too many", send(more), "fffff"},
		{"chunked", func(_ *matrix, w http.ResponseWriter, _ *http.Request, body []byte, _ int) bool {
			w.(http.Flusher).Flush()
			_, _ = w.Write(body)
			return true
		}, "rrrrr"},
		{"says that it is gzip", send(same, "Content-Encoding", "gzip"), "rrrrr"},
		{"goes to another server", to(func(m *matrix, path string) string { return m.other.URL + path }), "rrrfr"},
		{"goes to itself for ever", to(func(m *matrix, path string) string { return m.plain.URL + path }), "fffff"},
		{"goes to a file", to(func(*matrix, string) string { return "file:///etc/passwd" }), "fffff"},
		{"goes to the metadata service", to(func(*matrix, string) string { return "http://169.254.169.254/latest" }), "fffff"},
		{"goes nowhere", to(func(*matrix, string) string { return "" }), "fffff"},
		{"goes to TLS that has expired", trouble("expired"), "fffff"},
		{"goes to TLS of another name", trouble("other name"), "fffff"},
		{"goes to TLS that nobody vouches for", trouble("unknown CA"), "fffff"},
		{"goes to TLS that is none", trouble("no TLS"), "fffff"},
		{"goes to good TLS, HTTP/2", trouble("good"), "rrrfr"},
		{"HTTP/2: GOAWAY before the answer, once", trouble("goaway first"), "rrrfr"},
		{"HTTP/2: GOAWAY in the middle, once", trouble("goaway middle"), "rrrfr"},
		{"HTTP/2: RST_STREAM in the middle, once", trouble("rst middle"), "rrrfr"},
		{"HTTP/2: RST_STREAM, always", trouble("rst always"), "fffff"},
	}
}

// trouble leads to a server with a trouble of its own.
func trouble(name string) fault {
	return to(func(m *matrix, path string) string {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.trouble == "" {
			m.trouble = m.elsewhere(name)
		}
		return m.trouble + path
	})
}

// cosignerPolicy trusts a key for a prefix.
func cosignerPolicy(t *testing.T, prefix string, pem []byte) *trust.Policy {
	t.Helper()
	key, err := signature.ParseKey(pem)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if _, err := trust.Add(dir, prefix, key.Key); err != nil {
		t.Fatal(err)
	}
	p, err := trust.Load([]string{dir})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestNoDowngrade: where https is closed and http is open at the same port or the usual one, http is not spoken.
func TestNoDowngrade(t *testing.T) {
	m := newMatrix(t)
	m.on("", nil)
	_, port, _ := strings.Cut(m.host(), ":")
	for _, host := range []string{"localhost.localdomain", "gantry.invalid"} {
		c := newClient(t)
		c.backoff = time.Millisecond
		if img, err := c.Fetch(t.Context(), mustRef(t, host+":"+port+"/app:1"), order.Options{}); err == nil {
			t.Errorf("%s: fetched %v", host, img)
		}
	}
	if n := len(m.Seen("")); n > 0 {
		t.Errorf("%d requests in plain", n)
	}
}

package fetch

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/gantryrun/gantry/image"
	"github.com/gantryrun/gantry/image/order"
)

// brokenSite serves one file, and breaks each answer off after so many bytes.
type brokenSite struct {
	content  []byte
	after    int
	etag     func(request int) string
	spoil    func(http.Header) // of a partial answer
	requests []string          // their Range
}

func (s *brokenSite) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.requests = append(s.requests, r.Header.Get("Range"))
	w.Header().Set("ETag", s.etag(len(s.requests)))
	http.ServeContent(&breaker{ResponseWriter: w, left: s.after, spoil: s.spoil}, r, "x.aci", time.Time{}, bytes.NewReader(s.content))
}

type breaker struct {
	http.ResponseWriter
	left  int
	spoil func(http.Header)
}

func (b *breaker) WriteHeader(code int) {
	if code == http.StatusPartialContent && b.spoil != nil {
		b.spoil(b.Header())
	}
	b.ResponseWriter.WriteHeader(code)
}

func (b *breaker) Write(p []byte) (int, error) {
	if len(p) < b.left {
		b.left -= len(p)
		return b.ResponseWriter.Write(p)
	}
	_, _ = b.ResponseWriter.Write(p[:b.left])
	b.ResponseWriter.(http.Flusher).Flush()
	panic(http.ErrAbortHandler)
}

// TestACIResume: a download that breaks off goes on where it stopped, if the server says that the file is the same; else it is an error.
func TestACIResume(t *testing.T) {
	content := aciOf(t, aciManifest("example.com/app", ""), "a", string(bytes.Repeat([]byte("0123456789abcdef"), 1<<14)))
	same := func(int) string { return `"1"` }
	for name, tc := range map[string]struct {
		site     brokenSite
		requests int
		want     error // nil: fetched whole
	}{
		"goes on":          {brokenSite{after: len(content)/3 + 1, etag: same}, 3, nil},
		"changes":          {brokenSite{after: len(content)/3 + 1, etag: func(n int) string { return fmt.Sprintf(`"%d"`, n) }}, 2, image.ErrUnreachable},
		"has no ETag":      {brokenSite{after: len(content)/3 + 1, etag: func(int) string { return "" }}, 1, errAny},
		"has a weak ETag":  {brokenSite{after: len(content)/3 + 1, etag: func(int) string { return `W/"1"` }}, 1, errAny},
		"goes on nowhere":  {brokenSite{after: 1 << 30, etag: same}, 1, nil},
		"from elsewhere":   {brokenSite{after: len(content)/3 + 1, etag: same, spoil: func(h http.Header) { h.Set("Content-Range", "bytes 0-1/2") }}, 2, image.ErrVerify},
		"other ETag in it": {brokenSite{after: len(content)/3 + 1, etag: same, spoil: func(h http.Header) { h.Set("ETag", `"2"`) }}, 2, image.ErrVerify},
		"never a byte":     {brokenSite{after: 0, etag: same}, 1 + maxIdleResumes, errAny},
	} {
		t.Run(name, func(t *testing.T) {
			tc.site.content = content
			server := httptest.NewTLSServer(&tc.site)
			defer server.Close()
			c := newClient(t)
			c.InsecureTLS, c.backoff = true, time.Millisecond
			img, err := c.Fetch(t.Context(), mustRef(t, server.URL+"/x.aci"), order.Options{Platform: "linux/amd64"})
			if (tc.want == nil) != (err == nil) || !errors.Is(tc.want, errAny) && !errors.Is(err, tc.want) {
				t.Errorf("%v, want %v", err, tc.want)
			}
			if len(tc.site.requests) != tc.requests {
				t.Errorf("requests %q, want %d", tc.site.requests, tc.requests)
			}
			if err == nil {
				got, err := readFile(t, c.Store, img, "/a")
				if err != nil || len(got) != 16<<14 {
					t.Errorf("%d bytes, %v", len(got), err)
				}
			} else if list, err := c.Store.List(t.Context()); err != nil || len(list) > 0 {
				t.Errorf("stored: %v, %v", list, err)
			}
		})
	}
}

var errAny = errors.New("any")

// TestDiscoveryCaching: what is discovered where it was before, and has not changed, is not downloaded again.
func TestDiscoveryCaching(t *testing.T) {
	h := newAppcHost(t)
	ref, opts := mustRef(t, "aci:"+h.name+"/app"), order.Options{Platform: "linux/amd64"}
	for name, tc := range map[string]struct {
		header http.Header
		loaded bool
	}{
		"nothing": {http.Header{}, true},
		"ETag":    {http.Header{"Etag": {`"1"`}}, false},
		"max-age": {http.Header{"Cache-Control": {"max-age=60"}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t)
			c.InsecureTLS, h.header = true, nil
			fetch := func(content string) *image.Image {
				t.Helper()
				h.serve("/app-latest-linux-amd64.aci", aciOf(t, aciManifest(h.name+"/app", ""), "a", content))
				img, err := c.Fetch(t.Context(), ref, opts)
				if err != nil {
					t.Fatal(err)
				}
				return img
			}
			h.only = "/get/" // pages have no ETag here
			h.header = tc.header
			first := fetch("1")
			if again := fetch("2"); (again.ID != first.ID) != tc.loaded {
				t.Errorf("loaded: %v, want %v", again.ID != first.ID, tc.loaded)
			}
		})
	}
}

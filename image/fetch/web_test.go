package fetch

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/gantryrun/gantry/image/order"
)

// appcHost serves pages and ACIs by https on an address of its own: names of appc have no ports.
type appcHost struct {
	*httptest.Server
	name  string
	mu    sync.Mutex
	pages map[string][]byte
	seen  []string

	header http.Header
	only   string // prefix of the paths that have header
}

func newAppcHost(t *testing.T) *appcHost {
	t.Helper()
	h := &appcHost{pages: map[string][]byte{}}
	var l net.Listener
	for i := range 50 {
		h.name = fmt.Sprintf("127.83.%d.%d", os.Getpid()%200+1, i+1)
		var err error
		if l, err = new(net.ListenConfig).Listen(t.Context(), "tcp", h.name+":443"); err == nil {
			break
		}
	}
	if l == nil {
		t.Skip("no address of loopback has port 443 free, or may be bound")
	}
	h.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		defer h.mu.Unlock()
		path := r.URL.Path
		if r.URL.RawQuery != "" {
			path += "?" + r.URL.RawQuery
		}
		h.seen = append(h.seen, path)
		for k, v := range h.header {
			if strings.HasPrefix(path, h.only) {
				w.Header()[k] = v
			}
		}
		if tag := r.Header.Get("If-None-Match"); tag != "" && tag == w.Header().Get("ETag") {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		data, ok := h.pages[path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(data)
	}))
	h.Listener.Close()
	h.Listener = l
	h.StartTLS()
	t.Cleanup(h.Close)
	return h
}

// serve ACIs by the template of the whole host.
func (h *appcHost) serve(path string, data []byte) {
	h.pages["/?ac-discovery=1"] = []byte(`<html><head><meta name="ac-discovery" content="` + h.name +
		` https://` + h.name + `/get/{name}-{version}-{os}-{arch}.{ext}"></head></html>`)
	h.pages["?ac-discovery=1"] = h.pages["/?ac-discovery=1"]
	h.pages["/get/"+h.name+path] = data
}

// TestURLCaching: what has not changed is not downloaded again, nor asked for while it is fresh.
func TestURLCaching(t *testing.T) {
	h := newAppcHost(t)
	for name, tc := range map[string]struct {
		header        http.Header
		asked, loaded int // by a second fetch
	}{
		"nothing":       {http.Header{}, 1, 1},
		"ETag":          {http.Header{"Etag": {`"1"`}}, 1, 0},
		"max-age":       {http.Header{"Cache-Control": {"public, max-age=60"}}, 0, 0},
		"no-cache":      {http.Header{"Etag": {`"1"`}, "Cache-Control": {"max-age=60, no-cache"}}, 1, 0},
		"no-store":      {http.Header{"Etag": {`"1"`}, "Cache-Control": {"no-store, max-age=60"}}, 1, 1},
		"max-age of 0":  {http.Header{"Cache-Control": {"max-age=0"}}, 1, 1},
		"max-age of -1": {http.Header{"Cache-Control": {"max-age=-1"}}, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			h.header = tc.header
			h.pages = map[string][]byte{"/x.aci": aciOf(t, aciManifest("example.com/app", ""), "a", "1")}
			c, ref, opts := newClient(t), mustRef(t, "https://"+h.name+"/x.aci"), order.Options{Platform: "linux/amd64"}
			c.InsecureTLS = true
			first, err := c.Fetch(t.Context(), ref, opts)
			if err != nil {
				t.Fatal(err)
			}
			h.seen = nil
			h.pages["/x.aci"] = aciOf(t, aciManifest("example.com/app", ""), "a", "2")
			again, err := c.Fetch(t.Context(), ref, opts)
			if err != nil {
				t.Fatal(err)
			}
			if len(h.seen) != tc.asked || (again.ID != first.ID) != (tc.loaded == 1) {
				t.Errorf("asked %q, loaded %v", h.seen, again.ID != first.ID)
			}
		})
	}
}

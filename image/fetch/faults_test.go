package fetch

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"

	"github.com/gantryrun/gantry/image"
	"github.com/gantryrun/gantry/image/order"
)

// The rows of the catalogue of attacks are named F1, F2, ... in the tests' names.

// serveBlob answers requests for one blob with other bytes.
func serveBlob(d digest.Digest, body []byte) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/blobs/"+d.String()) {
			return false
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		for len(body) > 0 { // chunked: no Content-Length to give it away
			n := min(len(body), 4096)
			if _, err := w.Write(body[:n]); err != nil {
				return true
			}
			body = body[n:]
			w.(http.Flusher).Flush()
		}
		return true
	}
}

func layerDigest(t *testing.T, l v1.Layer) digest.Digest {
	t.Helper()
	h, err := l.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return digest.Digest(h.String())
}

func TestF1WrongBytes(t *testing.T) {
	reg := newRegistry(t)
	plain := tarOf(t, "a", numbered(1<<20))
	blob := gz(t, plain)
	layer := newLayer(blob, plain, types.OCILayer)
	ref := reg.push(t, "app:v1", newImage(t, layer))
	d := layerDigest(t, layer)
	flipped := bytes.Clone(blob)
	flipped[len(flipped)/2] ^= 1
	for name, body := range map[string][]byte{
		"one byte flipped": flipped,
		"one byte more":    append(bytes.Clone(blob), 0),
		"one byte less":    blob[:len(blob)-1],
		"nothing":          {},
		"recompressed":     gz(t, append(bytes.Clone(plain), make([]byte, 512)...)),
		"another member":   append(bytes.Clone(blob), gz(t, nil)...),
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t)
			served := body
			reg.on(func(w http.ResponseWriter, r *http.Request) bool { return serveBlob(d, served)(w, r) })
			_, err := c.Fetch(t.Context(), ref, order.Options{})
			if err == nil || !strings.Contains(err.Error(), d.String()) {
				t.Errorf("got %v: want an error that names %s", err, d)
			}
			wantEmpty(t, c.Store)
		})
	}
}

// rewrite serves the image's manifest with changes.
func (f *faultRegistry) rewrite(t *testing.T, ref image.Ref, change func(m map[string]any) string) {
	t.Helper()
	f.on(nil)
	resp, err := http.Get(f.URL + "/v2/" + ref.Repository + "/manifests/" + ref.Tag)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var m map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&m); err != nil {
		t.Fatal(err)
	}
	raw := change(m)
	if raw == "" {
		out, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		raw = string(out)
	}
	f.on(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/manifests/") {
			return false
		}
		w.Header().Set("Content-Type", string(types.OCIManifestSchema1))
		_, _ = io.WriteString(w, raw)
		return true
	})
}

func TestF1WrongSizes(t *testing.T) {
	reg := newRegistry(t)
	layer := gzLayer(t, "a", numbered(1<<20))
	ref := reg.push(t, "app:v1", newImage(t, layer))
	size, err := layer.Size()
	if err != nil {
		t.Fatal(err)
	}
	for _, wrong := range []json.Number{
		json.Number(strconv.FormatInt(size+1, 10)), json.Number(strconv.FormatInt(size-1, 10)), "0", "-1",
		"9223372036854775808", "9223372036854775807", "1.5", "1e3",
	} {
		t.Run(string(wrong), func(t *testing.T) {
			c := newClient(t)
			reg.rewrite(t, ref, func(m map[string]any) string {
				m["layers"].([]any)[0].(map[string]any)["size"] = wrong
				return ""
			})
			if _, err := c.Fetch(t.Context(), ref, order.Options{}); !errors.Is(err, image.ErrVerify) && !errors.Is(err, image.ErrManifest) {
				t.Errorf("got %v", err)
			}
			wantEmpty(t, c.Store)
		})
	}
}

func TestF1WrongDiffID(t *testing.T) {
	reg, c := newRegistry(t), newClient(t)
	ref := reg.push(t, "app:v1", newImage(t, newLayer(gz(t, tarOf(t, "a", "a")), tarOf(t, "a", "b"), types.OCILayer)))
	if _, err := c.Fetch(t.Context(), ref, order.Options{}); err == nil || !strings.Contains(err.Error(), "diffID") {
		t.Errorf("got %v", err)
	}
	wantEmpty(t, c.Store)
}

// endless writes JSON without end, until the client hangs up.
func endless(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", string(types.OCIManifestSchema1))
	w.WriteHeader(status)
	chunk := []byte(`{"schemaVersion":2,"a":"` + strings.Repeat("x", 64<<10))
	for range 10_000 { // 640 MB
		if _, err := w.Write(chunk); err != nil {
			return
		}
	}
}

func TestF2Endless(t *testing.T) {
	reg := newRegistry(t)
	ref := reg.push(t, "app:v1", newImage(t, gzLayer(t, "a", "a")))
	for name, tc := range map[string]struct {
		path   string
		status int
	}{
		"ping":     {"/v2/", http.StatusOK},
		"manifest": {"/manifests/", http.StatusOK},
		"config":   {"/blobs/", http.StatusOK},
		"error":    {"/manifests/", http.StatusNotFound},
		"blob 404": {"/blobs/", http.StatusNotFound},
		"token":    {"/token", http.StatusOK},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t)
			reg.on(func(w http.ResponseWriter, r *http.Request) bool {
				if name == "token" && r.URL.Path == "/v2/" {
					w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+r.Host+`/token",service="x"`)
					w.WriteHeader(http.StatusUnauthorized)
					return true
				}
				if !strings.Contains(r.URL.Path, tc.path) || (tc.path == "/v2/" && r.URL.Path != "/v2/") {
					return false
				}
				endless(w, tc.status)
				return true
			})
			before, start := rss(t), time.Now()
			_, err := c.Fetch(t.Context(), ref, order.Options{})
			if (err == nil) != (name == "ping") { // nobody reads what a ping says
				t.Errorf("got %v", err)
			}
			if took := time.Since(start); took > time.Minute {
				t.Errorf("took %s", took)
			}
			if grown := rss(t) - before; grown > 64<<20 {
				t.Errorf("resident memory grew by %d MB", grown>>20)
			}
			if err != nil {
				wantEmpty(t, c.Store)
			}
		})
	}
}

// rss is the resident memory of the test, the registry in it included.
func rss(t *testing.T) int {
	t.Helper()
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(data))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}

func TestF4DigestAsPath(t *testing.T) {
	reg := newRegistry(t)
	ref := reg.push(t, "app:v1", newImage(t, gzLayer(t, "a", "a")))
	for _, bad := range []string{
		"sha256:../../../../tmp/x", "sha256:" + strings.Repeat("A", 64), "sha256:" + strings.Repeat("a", 63),
		"sha1:" + strings.Repeat("a", 40), "sha256:..%2f", "sha256:\x00", "", "sha256", ":", "sha256:" + strings.Repeat("/", 64),
	} {
		for _, field := range []string{"config", "layers"} {
			c := newClient(t)
			reg.rewrite(t, ref, func(m map[string]any) string {
				desc := m["config"]
				if field == "layers" {
					desc = m["layers"].([]any)[0]
				}
				desc.(map[string]any)["digest"] = bad
				return ""
			})
			if _, err := c.Fetch(t.Context(), ref, order.Options{}); !errors.Is(err, image.ErrManifest) {
				t.Errorf("%s with digest %q: got %v", field, bad, err)
			}
			if n := reg.requests("/blobs/"); n != 0 {
				t.Errorf("%s with digest %q: %d blobs asked for", field, bad, n)
			}
		}
	}
}

func TestF6Bombs(t *testing.T) {
	reg := newRegistry(t)
	zeros := make([]byte, 32<<20)
	bomb := gz(t, zeros)
	for name, tc := range map[string]struct {
		layer  v1.Layer
		limits Limits
		want   error
	}{
		"ratio":         {newLayer(bomb, zeros, types.OCILayer), Limits{MaxRatio: 10, RatioFrom: 1 << 20}, image.ErrLimit},
		"size, gzip":    {newLayer(bomb, zeros, types.OCILayer), Limits{MaxLayerSize: 1 << 20}, image.ErrLimit},
		"size, zstd":    {newLayer(zst(t, zeros), zeros, types.OCILayerZStd), Limits{MaxLayerSize: 1 << 20}, image.ErrLimit},
		"many members":  {newLayer(bytes.Repeat(gz(t, nil), 100_000), []byte("x"), types.OCILayer), Limits{}, nil},
		"window of 2 G": {newLayer([]byte("\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00"), nil, types.OCILayerZStd), Limits{}, image.ErrLimit},
		"truncated":     {newLayer(bomb[:len(bomb)/2], zeros, types.OCILayer), Limits{}, io.ErrUnexpectedEOF},
		"garbage after": {newLayer(append(gz(t, tarOf(t, "a", "a")), "garbage"...), tarOf(t, "a", "a"), types.OCILayer), Limits{}, nil},
		"no gzip":       {newLayer(tarOf(t, "a", "a"), tarOf(t, "a", "a"), types.OCILayer), Limits{}, nil},
		"empty":         {newLayer(nil, nil, types.OCILayer), Limits{}, io.ErrUnexpectedEOF},
		"EROFS":         {newLayer([]byte("x"), []byte("x"), "application/vnd.erofs.layer.v1"), Limits{}, image.ErrManifest},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t)
			c.Limits = tc.limits
			ref := reg.push(t, "bomb:v1", newImage(t, tc.layer))
			before := rss(t)
			_, err := c.Fetch(t.Context(), ref, order.Options{})
			if err == nil || (tc.want != nil && !errors.Is(err, tc.want)) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
			if grown := rss(t) - before; grown > 128<<20 {
				t.Errorf("resident memory grew by %d MB", grown>>20)
			}
			wantEmpty(t, c.Store)
		})
	}
}

func TestF9ImportKeepsNames(t *testing.T) {
	reg, c := newRegistry(t), newClient(t)
	trusted := reg.push(t, "trusted:1", newImage(t, gzLayer(t, "a", "good")))
	good, err := c.Fetch(t.Context(), trusted, order.Options{})
	if err != nil {
		t.Fatal(err)
	}
	evil := writeLayout(t, newImage(t, gzLayer(t, "a", "evil")), trusted.String())
	img, err := c.Fetch(t.Context(), mustRef(t, "oci:"+evil), order.Options{})
	if err != nil || img.Names[0] != "oci:"+evil {
		t.Fatalf("import got %v, %v", img, err)
	}
	if now, err := c.Store.Get(t.Context(), trusted); err != nil || now.ID != good.ID {
		t.Errorf("the name now leads to %v, %v", now, err)
	}
}

func TestEscapeSequences(t *testing.T) {
	reg, c := newRegistry(t), newClient(t)
	ref := reg.push(t, "app:v1", newImage(t, gzLayer(t, "a", "a")))
	reg.on(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/v2/" {
			return false
		}
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, `{"errors":[{"code":"\u001b[31m","message":"a\r\nb\u0007"}]}`)
		return true
	})
	_, err := c.Fetch(t.Context(), ref, order.Options{})
	if !errors.Is(err, image.ErrDenied) || strings.ContainsAny(err.Error(), "\x1b\r\n\a") {
		t.Errorf("got %q", err)
	}
}

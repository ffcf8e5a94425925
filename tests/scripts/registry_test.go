package scripts

import (
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/gantryrun/gantry/tests/ociimage"
)

// startRegistry starts a registry inside the box and fills it with the images below.
func startRegistry(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, len(args) == 0, "registry")
	server := httptest.NewServer(faults(registry.New(registry.Logger(log.New(io.Discard, "", 0)))))
	ts.Defer(server.Close)
	addr := strings.TrimPrefix(server.URL, "http://")
	ts.Setenv("REG", addr)

	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Setenv("DOWN", l.Addr().String())
	ts.Check(l.Close())

	images, err := images()
	ts.Check(err)
	for ref, img := range images {
		tag, err := name.NewTag(addr + "/" + ref)
		ts.Check(err)
		ts.Check(remote.Write(tag, img, remote.WithJobs(1)))
	}
}

// images are what the registry has: a name each, and what is special about it.
func images() (map[string]v1.Image, error) {
	entries, err := ociimage.BusyboxEntries()
	if err != nil {
		return nil, err
	}
	base, err := ociimage.Layer(entries...)
	if err != nil {
		return nil, err
	}
	zstd, err := ociimage.ZstdLayer(entries...)
	if err != nil {
		return nil, err
	}
	// Three layers that delete, hide and replace what is below them.
	second, err := ociimage.Layer(ociimage.Dir("srv"), ociimage.File("srv/kept", "kept\n"), ociimage.File("srv/deleted", "x"),
		ociimage.Dir("opt"), ociimage.File("opt/hidden", "x"), ociimage.File("replaced", "old\n"))
	if err != nil {
		return nil, err
	}
	third, err := ociimage.Layer(ociimage.File("srv/.wh.deleted", ""), ociimage.Dir("opt"), ociimage.File("opt/.wh..wh..opq", ""),
		ociimage.File("opt/shown", "shown\n"), ociimage.File("replaced", "new\n"), ociimage.Hard("srv/linked", "srv/kept"))
	if err != nil {
		return nil, err
	}
	path := []string{"PATH=/bin"}
	out := map[string]v1.Image{}
	for _, i := range []struct {
		ref      string
		platform v1.Platform
		config   v1.Config
		layers   []v1.Layer
	}{
		{"busybox:1", amd64, v1.Config{Env: path, Cmd: []string{"sh"}}, []v1.Layer{base}},
		{"busybox:zstd", amd64, v1.Config{Env: path, Cmd: []string{"sh"}}, []v1.Layer{zstd}},
		{"layers:1", amd64, v1.Config{Env: path, Cmd: []string{"sh"}}, []v1.Layer{base, second, third}},
		{"config:1", amd64, v1.Config{
			Env: append([]string{"COLOUR=green"}, path...), User: "app", WorkingDir: "/var",
			Entrypoint: []string{"sh", "-c"}, Cmd: []string{"echo user $(id -un) in $PWD likes $COLOUR; exit 3"},
		}, []v1.Layer{base}},
		{"arm:1", v1.Platform{OS: "linux", Architecture: "arm64"}, v1.Config{Env: path, Cmd: []string{"sh"}}, []v1.Layer{base}},
		{"fault-blob:1", amd64, v1.Config{Env: path, Cmd: []string{"sh"}}, []v1.Layer{base}},
	} {
		img, err := ociimage.ImageFor(i.platform, i.config, i.layers...)
		if err != nil {
			return nil, err
		}
		out[i.ref] = img
	}
	return out, nil
}

var amd64 = v1.Platform{OS: "linux", Architecture: "amd64"}

// faults answers for a registry that went wrong: the blobs of repository fault-blob have a byte changed, the
// manifest of fault-manifest is no manifest, and fault-digest has one manifest whatever digest is asked for.
func faults(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		get := r.Method == http.MethodGet || r.Method == http.MethodHead
		switch {
		case get && strings.HasPrefix(r.URL.Path, "/v2/fault-manifest/manifests/"):
			w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
			_, _ = io.WriteString(w, `{"schemaVersion":2,"layers":[{"digest":"../../etc/passwd"`)
		case get && strings.HasPrefix(r.URL.Path, "/v2/fault-digest/manifests/"):
			r.URL.Path = "/v2/busybox/manifests/1"
			next.ServeHTTP(w, r)
		case get && strings.HasPrefix(r.URL.Path, "/v2/fault-blob/blobs/"):
			rec := httptest.NewRecorder()
			r.Header.Del("Range")
			next.ServeHTTP(rec, r)
			body := rec.Body.Bytes()
			if len(body) > 0 {
				body[len(body)/2] ^= 1
			}
			for k, v := range rec.Header() {
				w.Header()[k] = v
			}
			w.WriteHeader(rec.Code)
			_, _ = w.Write(body)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

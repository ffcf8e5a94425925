package examples

import (
	"regexp"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/gantryrun/gantry/tests/ociimage"
)

var address = regexp.MustCompile(`ip4=([0-9.]+)`)

// A request from pod to pod passes the proxy of each, which neither app knows of; the proxies' own traffic passes. A client
// without a proxy meets only the other's.
func TestSidecar(t *testing.T) {
	if !enter(t, "haproxy", "go", "nft") {
		return
	}
	app := archive(t, "app", nil, v1.Config{}, ociimage.Dir("www"), ociimage.File("www/index.html", "the app\n"))
	proxy := archive(t, "proxy", []string{"haproxy"}, v1.Config{})
	h := newHost(t, "host")
	h.sh(blocks(t, "sidecar", "tour"), "APP_IMAGE="+app, "PROXY_IMAGE="+proxy)

	m := address.FindStringSubmatch(h.sh("gantry status web"))
	if m == nil {
		t.Fatalf("no address:\n%s", h.sh("gantry status web"))
	}
	ask := "timeout 20 busybox wget -S -O - http://" + m[1] + "/"
	passed := func(out string, want bool, proxy string) {
		t.Helper()
		if strings.Contains(out, proxy) != want {
			t.Errorf("passed %q: %v, want %v:\n%s", proxy, !want, want, out)
		}
	}
	out := h.await("gantry enter --app=app client " + ask)
	passed(out, true, "the app")
	passed(out, true, "x-inbound-proxy: web")
	passed(out, true, "x-outbound-proxy: client")

	// Other programs of the pod on its loopback, and those of the proxy's user, are not redirected.
	out = h.sh("gantry enter --app=app web timeout 20 wget -S -O - http://127.0.0.1/")
	passed(out, true, "the app")
	passed(out, false, "proxy:")
	out = h.sh("gantry enter --app=app --user=2102 client " + ask)
	passed(out, true, "x-inbound-proxy: web")
	passed(out, false, "x-outbound-proxy")

	// The host has no proxy.
	out = h.sh("busybox " + ask)
	passed(out, true, "x-inbound-proxy: web")
	passed(out, false, "x-outbound-proxy")

	// Without its proxy, the app is not reached past it.
	h.sh("gantry kill --app=proxy web")
	h.await("! busybox " + ask)
	h.sh("gantry stop --force web client")
	h.collect()
}

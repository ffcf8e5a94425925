package examples

import (
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/gantryrun/gantry/tests/await"
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

// With a proxy that asks the kernel for it, IPv6 passes the proxies as IPv4 does, and to the same place; what the proxy's user sends passes them by.
func TestSidecarOfBothFamilies(t *testing.T) {
	if !enter(t, "go", "nft") {
		return
	}
	h := newHost(t, "host")
	h.sh(`go build -o /opt/cni/bin/sidecar ./examples/sidecar
CGO_ENABLED=0 go build -o /opt/transparent ./tests/examples/transparent
mkdir -p /etc/gantry/net.d
sed 's|\[{"subnet": "10.97.0.0/24"}\]|&, [{"subnet": "fd00:97::/64"}]|; s|{"dst": "0.0.0.0/0"}|&, {"dst": "::/0"}|' examples/sidecar/mesh.conflist >/etc/gantry/net.d/mesh.conflist
grep -q fd00:97 /etc/gantry/net.d/mesh.conflist`)
	program, err := os.ReadFile(filepath.Join(h.dir, "opt/transparent"))
	if err != nil {
		t.Fatal(err)
	}
	image := archive(t, "both", nil, v1.Config{}, ociimage.Exec("bin/transparent", program), ociimage.Dir("www"), ociimage.File("www/index.html", "the app\n"))
	for name, app := range map[string]string{"web": "httpd -f -p 80 -h /www", "client": "sleep 1000"} {
		h.sh("gantry run --detach --net=mesh --pod-name=" + name + " " + image +
			" --name=proxy --user=2102 --group=2102 --essential=false --ready=tcp:4140 -- transparent --- " +
			image + " --name=app --after=proxy -- " + app + " ---")
	}
	// passed are the connections that a pod's proxy has seen.
	passed := func(pod string) []string {
		return strings.Fields(strings.ReplaceAll(h.sh("gantry logs --app=proxy "+pod), " to ", "="))
	}
	status := h.sh("gantry status web")
	for family, wanted := range map[string]*regexp.Regexp{"IPv4": address, "IPv6": regexp.MustCompile(`ip6=([0-9a-f:]+)`)} {
		t.Run(family, func(t *testing.T) {
			m := wanted.FindStringSubmatch(status)
			if m == nil {
				t.Fatalf("no address:\n%s", status)
			}
			to := net.JoinHostPort(m[1], "80")
			ask := "timeout 60 wget -q -O - http://" + to + "/"
			web, client := passed("web"), passed("client")
			if got := h.await("gantry enter --app=app client " + ask); got != "the app" {
				t.Errorf("answer %q", got)
			}
			web, client = append(web, "inbound="+to), append(client, "outbound="+to)
			await.Until(t, "both proxies to say whom they passed on", func() bool {
				return slices.Equal(passed("web"), web) && slices.Equal(passed("client"), client)
			})
			if got := h.sh("gantry enter --app=app --user=2102 client " + ask); got != "the app" {
				t.Errorf("answer to the proxy's user %q", got)
			}
			await.Until(t, "one proxy to be passed by", func() bool { return slices.Equal(passed("web"), append(web, "inbound="+to)) })
			if got := passed("client"); !slices.Equal(got, client) {
				t.Errorf("the proxy's own user passes the proxy: %v", got)
			}
		})
	}
	h.sh("gantry stop --force web client")
	h.collect()
}

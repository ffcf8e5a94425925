package examples

import (
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/gantryrun/gantry/tests/ociimage"
)

// Clients of another host reach a service's pods through HAProxy, which finds them by the ports that they publish; past it they do not.
func TestHAProxy(t *testing.T) {
	if !enter(t, "haproxy", "jq") {
		return
	}
	image := archive(t, "web", nil, v1.Config{Cmd: []string{"sh", "-c", "hostname >/www/name; exec httpd -f -p 80 -h /www"}}, ociimage.Dir("www"))
	h, client := newHost(t, "host"), newHost(t, "client")
	wire(t, h, client)
	env := []string{"APP_IMAGE=" + image, "SERVICE=192.0.2.1:80"}
	h.sh(blocks(t, "haproxy", "pods"), env...)
	h.sh("gantry run --detach --pod-name=other --port=127.0.0.1:8089:80/tcp " + image)
	h.sh("mkdir -p /etc/haproxy; "+blocks(t, "haproxy", "start"), env...)
	t.Cleanup(func() { h.sh("kill $(cat /run/haproxy.pid)"); h.await("! pgrep -x haproxy") })

	// answers are who answers ten requests, all of which must succeed.
	answers := func() string {
		t.Helper()
		out := client.sh("for i in 0 1 2 3 4 5 6 7 8 9; do busybox timeout 30 busybox wget -q -O - http://192.0.2.1/name; done | sort | uniq -c")
		return strings.Join(strings.Fields(out), " ")
	}
	// balanced waits until the health checks have found who is there.
	balanced := func(want string) {
		t.Helper()
		got := ""
		for deadline := time.Now().Add(time.Minute); got != want; got = answers() {
			if time.Now().After(deadline) {
				t.Fatalf("answers: %q, want %q", got, want)
			}
		}
	}
	client.await("busybox timeout 30 busybox wget -q -O - http://192.0.2.1/name")
	balanced("5 web1 5 web2")
	if out, err := client.try("busybox timeout 2 busybox wget -q -O - http://192.0.2.1:8081/name"); err == nil {
		t.Errorf("a client reaches the pod past HAProxy: %q", out)
	}

	h.sh(blocks(t, "haproxy", "change"), env...)
	if got := answers(); got != "10 web2" {
		t.Errorf("after the end of web1: %q", got)
	}
	h.sh("gantry run --detach --pod-name=web3 --hostname=web3 --label=service=web --port=8083:80/tcp " + image)
	h.sh(strings.Replace(blocks(t, "haproxy", "change"), "gantry stop web1", "", 1), env...)
	h.sh(`grep -q 'server web3-8083 127.0.0.1:8083 ' /etc/haproxy/gantry.cfg`)
	balanced("5 web2 5 web3")
	h.sh("gantry stop --force web2 web3 other")
	h.collect()
}

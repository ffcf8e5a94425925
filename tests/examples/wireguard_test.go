package examples

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/gantryrun/gantry/tests/await"
	"github.com/gantryrun/gantry/tests/box"
	"github.com/gantryrun/gantry/tests/build"
	"github.com/gantryrun/gantry/tests/ociimage"
)

const (
	secret = "The gantry swings away at dawn."
	open   = "This one may be read by everybody."
)

// Pods of two hosts speak through WireGuard: what they say is not on the wire between the hosts. What speaks WireGuard ends with the pod,
// also when the supervisor is killed.
func TestWireGuard(t *testing.T) {
	if !box.Inside() {
		buildOutside(t, "wireguard") // a box has no way to the modules that may be missing
	}
	if !enter(t, "wg", "go") {
		return
	}
	image := archive(t, "web", nil, v1.Config{Cmd: []string{"httpd", "-f", "-p", "80", "-h", "/www"}},
		ociimage.Dir("www"), ociimage.File("www/secret", strings.Repeat(secret, 200)), ociimage.File("www/open", open))
	a, b := newHost(t, "a"), newHost(t, "b")
	wire(t, a, b)
	packets := newCapture(t, "port0")

	a.sh(blocks(t, "wireguard", "both"))
	b.sh(blocks(t, "wireguard", "both"))
	for i, h := range []*host{a, b} {
		peer := []*host{b, a}[i]
		h.sh(blocks(t, "wireguard", "each"),
			fmt.Sprintf("POD_ADDRESS=10.99.0.%d", i+1), fmt.Sprintf("PEER_ADDRESS=10.99.0.%d", 2-i), fmt.Sprintf("PEER_HOST=192.0.2.%d", 2-i),
			"PEER_KEY="+peer.sh("cat /etc/gantry/wireguard/public.key"))
		h.sh("gantry run --net=private --detach --pod-name=web " + image)
	}

	if got := a.await("gantry enter web timeout 5 wget -q -O - http://10.99.0.2/secret"); got != strings.Repeat(secret, 200) {
		t.Errorf("got %q", got)
	}
	if got := b.sh("gantry enter web timeout 60 wget -q -O - http://10.99.0.1/secret"); got != strings.Repeat(secret, 200) {
		t.Errorf("got %q, the other way", got)
	}
	// The same server through the other interface: the capture does see what is not encrypted.
	b.sh("gantry run --detach --pod-name=plain --port=8080:80/tcp " + image)
	if got := a.await("busybox timeout 5 busybox wget -q -O - http://192.0.2.2:8080/open"); got != open {
		t.Errorf("got %q", got)
	}
	// It came last: what came before has been read as well. (A packet is answered before the capture has been read.)
	await.Until(t, "the capture to show what is not encrypted", func() bool { return packets.holds(open) > 0 })
	if n := packets.holds(secret[:20]); n > 0 {
		t.Errorf("%d packets between the hosts hold the secret", n)
	}
	if n := packets.wireGuard(); n < 4 {
		t.Errorf("%d packets of WireGuard between the hosts", n)
	}

	if out, err := a.try("gantry run --net=private --pod-name=second " + image); err == nil || !strings.Contains(out, "ddress already in use") {
		t.Errorf("a second pod with the same UDP port: %v\n%s", err, out)
	}
	if pid := a.server("web"); pid != "" {
		a.sh("kill -STOP " + pid) // it does not end when it is told to
	}
	a.sh("gantry stop web")
	a.noServer()
	a.collect()
	b.sh("kill -9 $(gantry status web | sed -n s/^pid=//p)")
	b.await("! pgrep -x wireguard")
	b.sh("gantry stop plain")
	b.collect()
	b.noServer()
}

// server is the process that speaks WireGuard for a pod, a child of its supervisor; "" where the kernel speaks it.
func (h *host) server(pod string) string {
	h.t.Helper()
	if h.sh("ip link add wgtry type wireguard && ip link del wgtry || echo none") == "" {
		h.t.Log("the kernel has WireGuard: there is no process")
		return ""
	}
	pids := strings.Fields(h.sh("pgrep -x wireguard -P $(gantry status " + pod + " | sed -n s/^pid=//p)"))
	if len(pids) != 1 {
		h.t.Fatalf("the supervisor's children that speak WireGuard: %q", pids)
	}
	return pids[0]
}

func (h *host) noServer() {
	h.t.Helper()
	if left := h.sh("ls /run/gantry-wireguard /run/wireguard 2>/dev/null | grep -v : || true"); left != "" {
		h.t.Errorf("left on host %s: %s", h.name, left)
	}
}

// buildOutside builds an example's program where there is a network, so that inside it is in Go's cache.
func buildOutside(t *testing.T, example string) {
	t.Helper()
	root, err := build.Root()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "build", "-o", filepath.Join(t.TempDir(), "plugin"), ".")
	cmd.Dir = filepath.Join(root, "examples", example)
	cmd.Env = os.Environ()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build examples/%s: %v\n%s", example, err, out)
	}
}

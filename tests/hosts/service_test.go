package hosts_test

import (
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/gantryrun/gantry/tests/ociimage"
)

// slowly sends layers in pieces, each after a while.
type slowly struct {
	http.ResponseWriter
	pause time.Duration
}

func (s slowly) Write(p []byte) (n int, err error) {
	for err == nil && n < len(p) {
		time.Sleep(s.pause)
		var m int
		m, err = s.ResponseWriter.Write(p[n:min(len(p), n+64<<10)])
		n += m
	}
	return n, err
}

// slowRegistry serves an image busybox on the host's loopback, within about three seconds, and returns its reference.
func (m machine) slowRegistry(t *testing.T) string {
	t.Helper()
	l, err := m.Listen()
	if err != nil {
		t.Fatal(err)
	}
	reg := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	fast := &http.Server{Handler: reg}
	slow := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
			w = slowly{w, 100 * time.Millisecond}
		}
		reg.ServeHTTP(w, r)
	})}
	go func() { _ = slow.Serve(l) }()
	outside, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = fast.Serve(outside) }()
	t.Cleanup(func() { _ = slow.Close(); _ = fast.Close() })
	layer, err := ociimage.Busybox()
	if err != nil {
		t.Fatal(err)
	}
	img, err := ociimage.Image(v1.Config{Cmd: []string{"/bin/sh"}, Env: []string{"PATH=/bin", "FROM=registry"}}, layer,
		noise(t, 2<<20)) // or the layer would be in the store already
	if err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag(outside.Addr().String()+"/busybox:1", name.Insecure)
	if err == nil {
		err = remote.Write(tag, img)
	}
	if err != nil {
		t.Fatal(err)
	}
	return l.Addr().String() + "/busybox:1"
}

// A fetch may take longer than TimeoutStartSec, as long as bytes arrive; the unit's status says how far it is.
func TestExtendTimeout(t *testing.T) {
	m := boot(t)
	ref := m.slowRegistry(t)
	m.unit(t, "fetching.service", contract+"TimeoutStartSec=2\n"+run+ref+" -- sleep 1000\n")
	start := time.Now()
	m.must(t, "systemctl", "start", "--no-block", "fetching.service")
	await(t, "a status with a percentage", func() bool { return strings.Contains(m.show(t, "fetching.service", "StatusText"), "%") })
	if s := m.show(t, "fetching.service", "ActiveState"); s != "activating" {
		t.Errorf("it is %s before its pod is ready", s)
	}
	await(t, "the pod", func() bool { return m.show(t, "fetching.service", "ActiveState") != "activating" })
	if s := m.show(t, "fetching.service", "ActiveState"); s != "active" {
		t.Fatalf("it is %s:\n%s", s, m.journal(t, "fetching.service"))
	}
	if d := time.Since(start); d < 2500*time.Millisecond {
		t.Errorf("the fetch took %v only: this test shows nothing", d)
	}
	if s := m.show(t, "fetching.service", "StatusText"); s != "running" {
		t.Errorf("status %q when it runs", s)
	}
}

// The unit's credentials are the apps'.
func TestCredentials(t *testing.T) {
	m := boot(t)
	m.unit(t, "secret.service", contract+"SetCredential=token:sesame\n"+run+
		busybox+" -- sh -c 'cat $$CREDENTIALS_DIRECTORY/token; echo; touch $$CREDENTIALS_DIRECTORY/x && echo writable; sleep 1000'\n")
	m.start(t, "secret.service")
	await(t, "the secret", func() bool { return strings.Contains(m.journal(t, "secret.service"), "sesame\n") })
	if strings.Contains(m.journal(t, "secret.service"), "writable\n") {
		t.Error("an app can change the unit's credentials")
	}
}

// noise is a layer of n bytes that do not compress.
func noise(t *testing.T, n int) v1.Layer {
	t.Helper()
	body := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{}).Read(body) // never fails
	layer, err := ociimage.Layer(ociimage.File("noise", string(body)))
	if err != nil {
		t.Fatal(err)
	}
	return layer
}

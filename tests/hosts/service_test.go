package hosts_test

import (
	"crypto/rand"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/gantryrun/gantry/tests/await"
	"github.com/gantryrun/gantry/tests/ociimage"
)

// slowly sends layers in small pieces, ten a second, until it is told to be quick.
type slowly struct {
	http.ResponseWriter
	quick <-chan struct{}
}

func (s slowly) Write(p []byte) (n int, err error) {
	for err == nil && n < len(p) {
		var m int
		select {
		case <-s.quick:
			m, err = s.ResponseWriter.Write(p[n:])
		case <-time.After(100 * time.Millisecond):
			m, err = s.ResponseWriter.Write(p[n:min(len(p), n+2<<10)])
			_ = http.NewResponseController(s.ResponseWriter).Flush()
		}
		n += m
	}
	return n, err
}

// slowRegistry serves an image busybox on the host's loopback, within minutes or as soon as quick is closed, and returns
// its reference.
func (m machine) slowRegistry(t *testing.T, quick <-chan struct{}) string {
	t.Helper()
	l, err := m.Listen()
	if err != nil {
		t.Fatal(err)
	}
	reg := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	fast := &http.Server{Handler: reg}
	slow := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
			w = slowly{w, quick}
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
	const timeout = 15 * time.Second // gantry itself has to be there in it
	quick := make(chan struct{})
	ref := m.slowRegistry(t, quick)
	m.unit(t, "fetching.service", contract+"TimeoutStartSec="+timeout.String()+"\n"+run+ref+" -- sleep 1000\n")
	m.must(t, "systemctl", "start", "--no-block", "fetching.service")
	start := time.Now()
	await.Until(t, "a status with a percentage", func() bool { return strings.Contains(m.show(t, "fetching.service", "StatusText"), "%") })
	time.Sleep(time.Until(start.Add(timeout + time.Second)))
	if s := m.show(t, "fetching.service", "ActiveState"); s != "activating" {
		t.Errorf("it is %s before its pod is ready", s)
	}
	close(quick)
	await.Until(t, "the pod", func() bool { return m.show(t, "fetching.service", "ActiveState") != "activating" })
	if s := m.show(t, "fetching.service", "ActiveState"); s != "active" {
		t.Fatalf("it is %s:\n%s", s, m.journal(t, "fetching.service"))
	}
	if s := m.show(t, "fetching.service", "StatusText"); s != "running" {
		t.Errorf("status %q when it runs", s)
	}
}

// The unit's credentials are the apps', whoever their users are, and nobody else's.
func TestCredentials(t *testing.T) {
	m := boot(t)
	m.write(t, "/run/loaded", "loaded\n")
	const look = `sh -c 'cd $$CREDENTIALS_DIRECTORY && cat token && echo && cat file; stat -c "mode %%a %%u %%n" . *; touch x; echo >file && echo writable; ` +
		`ls /run/gantry /run/credentials/secret.service; for d in /proc/[0-9]*/root; do cat $$d/run/credentials/unit/token >/tmp/x && [ $$(stat -c %%u $${d%%/root}) != $$(id -u) ] && echo stolen; done; sleep 1000' `
	m.unit(t, "secret.service", contract+"SetCredential=token:sesame\nLoadCredential=file:/run/loaded\n"+run+
		busybox+" --name=root -- "+look+" --- "+busybox+" --name=web --user=1000 --group=1000 -- "+look+" --- "+busybox+" --name=other --user=1001 --readonly-rootfs --tmpfs=/tmp -- "+look+"\n")
	m.start(t, "secret.service")
	uuid := m.uuid(t, "secret.service")
	for app, uid := range map[string]string{"root": "0", "web": "1000", "other": "1001"} {
		want := "sesame\nloaded\nmode 500 " + uid + " .\nmode 400 " + uid + " file\nmode 400 " + uid + " token"
		var got string
		await.Until(t, "what "+app+" reads", func() bool {
			m.must(t, "journalctl", "--sync")
			got = m.sh(t, "journalctl --output=cat PRIORITY=6 GANTRY_APP="+app+" GANTRY_POD="+uuid)
			return strings.Contains(got, "token\n") || strings.HasSuffix(got, "token")
		})
		if app != "root" && got != want { // root may do what it likes in its pod
			t.Errorf("%s reads\n%s\nwant\n%s", app, got, want)
		} else if !strings.HasPrefix(got, want) || strings.Contains(got, "writable") {
			t.Errorf("%s reads\n%s\nwant\n%s", app, got, want)
		}
		if s := m.sh(t, "gantry enter --app="+app+" "+uuid+" sh -c 'cat $CREDENTIALS_DIRECTORY/token'"); s != "sesame" {
			t.Errorf("who enters %s reads %q", app, s)
		}
	}
	if s := m.sh(t, "find /run/gantry /var/lib/gantry/pods -name token"); s != "" {
		t.Errorf("copies on the host: %s", s)
	}
}

// noise is a layer of n bytes that do not compress, another one in each test.
func noise(t *testing.T, n int) v1.Layer {
	t.Helper()
	body := make([]byte, n)
	_, _ = rand.Read(body) // never fails; another one each time, also with -count
	layer, err := ociimage.Layer(ociimage.File("noise", string(body)))
	if err != nil {
		t.Fatal(err)
	}
	return layer
}

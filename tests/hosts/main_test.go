package hosts_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/gantryrun/gantry/tests/build"
	"github.com/gantryrun/gantry/tests/hosts"
	"github.com/gantryrun/gantry/tests/ociimage"
)

// shared is the one host of this package's tests: booting is cheap, and stopping it ten times is not.
var shared struct {
	sync.Once
	host *hosts.Host
	dir  string
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.host != nil {
		if err := shared.host.Close(); err != nil {
			println("close host:", err.Error())
			code = 1
		}
	}
	if shared.dir != "" {
		_ = os.RemoveAll(shared.dir)
	}
	os.Exit(code)
}

// machine is a host as a test uses it.
type machine struct{ *hosts.Host }

// boot returns the shared host, with the image "busybox" in its store.
func boot(t *testing.T) machine {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("skipped: needs root to boot a host")
	}
	bin := build.Dir(t)
	shared.Do(func() {
		if shared.dir, shared.err = os.MkdirTemp("", "gantry-hosts-"); shared.err != nil {
			return
		}
		start := time.Now()
		shared.host, shared.err = hosts.Boot(t.Context(), hosts.Options{Bin: bin, State: shared.dir})
		if shared.err == nil {
			t.Logf("host is up after %v", time.Since(start).Round(time.Millisecond))
			shared.err = writeBusybox(filepath.Join(shared.host.Share, "busybox.tar"))
		}
	})
	if errors.Is(shared.err, hosts.ErrNoTree) && os.Getenv("CI") == "" {
		t.Skipf("skipped: %v", shared.err)
	}
	if shared.err != nil {
		t.Fatalf("boot host: %v", shared.err)
	}
	m := machine{shared.host}
	m.must(t, "gantry", "fetch", "--quiet", busybox)
	return m
}

// busybox is the tests' image, as the host sees it.
const busybox = "oci-archive:/mnt/busybox.tar:busybox"

func writeBusybox(file string) error {
	layer, err := ociimage.Busybox()
	if err != nil {
		return err
	}
	img, err := ociimage.Image(v1.Config{Cmd: []string{"/bin/sh"}, Env: []string{"PATH=/bin"}}, layer)
	if err != nil {
		return err
	}
	return ociimage.WriteArchive(file, img, "busybox")
}

// run runs a command on the host.
func (m machine) run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 5*time.Minute) // cleanups run commands too
	defer cancel()
	code, stdout, stderr, err := m.Run(ctx, args...)
	if err != nil {
		t.Fatalf("%s: %v", args[0], err)
	}
	return code, stdout, stderr
}

// must wants it to succeed, and returns what it wrote.
func (m machine) must(t *testing.T, args ...string) string {
	t.Helper()
	code, stdout, stderr := m.run(t, args...)
	if code != 0 {
		t.Fatalf("%s: exit code %d\n%s%s", strings.Join(args, " "), code, stdout, stderr)
	}
	return stdout
}

// sh runs a line of shell on the host.
func (m machine) sh(t *testing.T, line string) string {
	t.Helper()
	return strings.TrimSpace(m.must(t, "sh", "-euc", line))
}

package hostile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"

	"github.com/gantryrun/gantry/image"
	"github.com/gantryrun/gantry/image/fetch"
	"github.com/gantryrun/gantry/image/order"
	"github.com/gantryrun/gantry/image/signature"
	"github.com/gantryrun/gantry/image/trust"
	"github.com/gantryrun/gantry/tests/build"
	"github.com/gantryrun/gantry/tests/craft"
)

// host is gantry with a data directory of its own.
type host struct {
	bin, dir string
	sentinel *sentinel
	site     *craft.Site
	server   *httptest.Server
}

// newHost makes one that has an image already.
func newHost(t *testing.T, dir string, s *sentinel) *host {
	t.Helper()
	site := &craft.Site{}
	h := &host{bin: build.Dir(t), dir: filepath.Join(dir, "data"), sentinel: s, site: site, server: httptest.NewServer(site)}
	t.Cleanup(h.server.Close)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	site.Put("standing", "1", standing())
	h.must(t, "fetch", h.addr()+"/standing:1")
	return h
}

func (h *host) addr() string { return strings.TrimPrefix(h.server.URL, "http://") }

// result of one run of gantry.
type result struct {
	code           int
	stdout, stderr string
	took           time.Duration
	memory         int64
}

// progress is a line about a layer that arrived.
var progress = regexp.MustCompile(`^\S+: layer sha256:[0-9a-f]+: .*\n$`)

var maxRSS = regexp.MustCompile(`Maximum resident set size \(kbytes\): (\d+)`)

// overstated is by how much busybox's time does so: versions before 1.36 take the kernel's kilobytes for pages. dd with a
// buffer of 64 MiB tells.
var overstated = sync.OnceValue(func() int64 {
	out, err := exec.Command("busybox", "time", "-f", "%M", "busybox", "dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1").CombinedOutput()
	if err != nil {
		panic(err)
	}
	fields := strings.Fields(string(out))
	kb, err := strconv.ParseInt(fields[len(fields)-1], 10, 64)
	if err != nil || kb < 64<<10 {
		panic(fmt.Sprintf("busybox time says %q", out))
	}
	return max(1, (kb+(32<<10))/(66<<10)) // 66 MB or so, or four times that
})

// run runs gantry. busybox is between because the kernel counts a child's memory from its parent's on.
func (h *host) run(t *testing.T, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), maxTime)
	defer cancel()
	report, err := os.CreateTemp(t.TempDir(), "time")
	if err != nil {
		t.Fatal(err)
	}
	defer report.Close()
	empty := filepath.Join(h.dir, "..", "empty")
	global := []string{"time", "-v", "-o", report.Name(), filepath.Join(h.bin, "gantry"), "--dir=" + h.dir, "--system-config=" + empty, "--user-config=" + empty}
	if !strings.Contains(strings.Join(args, " "), "--local-config=") {
		global = append(global, "--local-config="+empty)
	}
	cmd := exec.CommandContext(ctx, "busybox", append(global, args...)...)
	cmd.WaitDelay = time.Minute
	cmd.Env = append(os.Environ(), "HOME=/nonexistent", "REGISTRY_AUTH_FILE="+filepath.Join(h.dir, "..", "auth.json"))
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	start := time.Now()
	err = cmd.Run()
	r := result{code: cmd.ProcessState.ExitCode(), stdout: out.String(), stderr: errs.String(), took: time.Since(start)}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		t.Fatalf("gantry %s: %v after %s\n%s", strings.Join(args, " "), err, r.took, r.stderr)
	}
	data, err := os.ReadFile(report.Name())
	if m := maxRSS.FindSubmatch(data); err == nil && m != nil {
		kb, _ := strconv.ParseInt(string(m[1]), 10, 64)
		r.memory = kb << 10 / overstated()
	} else {
		t.Fatalf("no memory in %q: %v", data, err)
	}
	return r
}

func (h *host) must(t *testing.T, args ...string) string {
	t.Helper()
	r := h.run(t, args...)
	if r.code != 0 {
		t.Fatalf("gantry %s: exit code %d\n%s%s", strings.Join(args, " "), r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

// kit is what an attack is made with.
type kit struct {
	*testing.T
	*host
	tmp            string
	otherURL, meta string // of servers that a case started
	flags, rotten  []string
}

// attack runs one case, with all that holds for each.
func (h *host) attack(t *testing.T, a attack) {
	k := &kit{T: t, host: h, tmp: t.TempDir()}
	h.site.Reset()
	before := h.snapshot(t)
	if args := a.prepare(k); args != nil {
		r := h.run(t, args...)
		h.bounded(t, r)
		if a.refuse != "" {
			h.refused(t, a, r)
		} else if r.code != 0 && args[0] != "run" {
			t.Errorf("exit code %d, but it should be taken: %s", r.code, r.stderr)
		}
		if a.after != nil {
			a.after(k, r)
		}
		if args[0] == "run" {
			h.must(t, "gc", "--grace-period=0s", "--expire-prepared=0s")
		}
		if a.refuse == "" || args[0] == "run" {
			h.harmless(k)
		}
	}
	if diff := before.diff(h.snapshot(t)); diff != "" {
		t.Errorf("the store is not as before: %s", diff)
	}
	if took := h.sentinel.changed(); took != "" {
		t.Errorf("the host changed: %s", took)
	}
	h.goodFetch(t, before)
}

// bounded checks what holds for everything that gantry says and takes.
func (h *host) bounded(t *testing.T, r result) {
	t.Helper()
	if r.memory > maxMemory {
		t.Errorf("took %d MB of memory", r.memory>>20)
	}
	raw := func(c rune) bool { return unicode.IsControl(c) && c != '\n' && c != '\t' }
	if strings.ContainsFunc(r.stdout, raw) || strings.ContainsFunc(r.stderr, func(c rune) bool { return c != '\n' && !unicode.IsPrint(c) }) {
		t.Errorf("raw control characters in the output %q", r.stdout+r.stderr)
	}
	if strings.Contains(r.stderr, "goroutine ") || strings.Contains(r.stderr, "panic") {
		t.Errorf("a crash: %s", r.stderr)
	}
}

func (h *host) refused(t *testing.T, a attack, r result) {
	t.Helper()
	said := ""
	for line := range strings.Lines(r.stderr) {
		if !progress.MatchString(line) {
			said += line
		}
	}
	if r.code != 254 || !strings.HasPrefix(said, "gantry: ") || !strings.Contains(said, a.refuse) {
		t.Errorf("exit code %d, %q; want 254 and a line that says %q", r.code, said, a.refuse)
	}
	for line := range strings.Lines(said) {
		if !strings.HasPrefix(line, "gantry: ") {
			t.Errorf("stderr has a line of its own: %q", line)
		}
	}
}

// harmless verifies and unpacks what was taken, and takes it away again.
func (h *host) harmless(k *kit) {
	k.Helper()
	store := h.store(k.T)
	images, err := store.List(k.Context())
	if err != nil {
		k.Errorf("list: %v", err)
	}
	for _, img := range images {
		if strings.Contains(strings.Join(img.Names, " "), "/standing:1") {
			continue
		}
		if problems, err := store.Verify(k.Context(), img); err != nil || len(problems) > 0 {
			k.Errorf("verify: %v, %v", problems, err)
		}
		to := filepath.Join(h.dir, "..", "extracted")
		if err := store.Extract(k.Context(), img, to); err != nil {
			k.Errorf("extract: %v", err)
		}
		if err := removeAll(to); err != nil {
			k.Errorf("remove what was extracted: %v", err)
		}
		h.remove(k.T, img.ID.String())
	}
}

// remove takes an image away, as "image rm" does it. (No pod is there when it is called.)
func (h *host) remove(t *testing.T, id string) {
	t.Helper()
	ref, err := image.ParseRef(id)
	if err != nil {
		t.Fatal(err)
	}
	store := h.store(t)
	if _, err := store.Remove(t.Context(), ref); err != nil {
		t.Error(err)
	}
	if _, err := store.GC(t.Context(), image.GCOptions{Images: []string{id}}); err != nil {
		t.Error(err)
	}
}

func (h *host) store(t *testing.T) *image.Store {
	t.Helper()
	store, err := image.Open(h.dir, image.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// goodFetch: the next one works, and goes again.
func (h *host) goodFetch(t *testing.T, before snapshot) {
	t.Helper()
	h.site.Reset()
	h.site.Put("good", "1", craft.NewImage(nil, craft.Gzipped(craft.Archive(craft.File("good", t.Name())))))
	ref, err := image.ParseRef(h.addr() + "/good:1")
	if err != nil {
		t.Fatal(err)
	}
	store := h.store(t)
	img, err := (&fetch.Client{Store: store}).Fetch(t.Context(), ref, order.Options{Platform: "linux/amd64"})
	if err != nil {
		t.Fatalf("the next good fetch: %v", err)
	}
	dir := filepath.Join(t.TempDir(), "good")
	if err := store.Extract(t.Context(), img, dir); err != nil {
		t.Errorf("the next good image: %v", err)
	}
	if data, err := os.ReadFile(filepath.Join(dir, "good")); err != nil || string(data) != t.Name() {
		t.Errorf("the next good image has %q, %v", data, err)
	}
	h.remove(t, img.ID.String())
	if diff := before.diff(h.snapshot(t)); diff != "" {
		t.Errorf("after the next good fetch: %s", diff)
	}
}

// file writes one of the test's own.
func (k *kit) file(name string, data []byte) string {
	k.Helper()
	path := filepath.Join(k.tmp, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, data, 0o600)); err != nil {
		k.Fatal(err)
	}
	return path
}

// put serves an image as hostile:1 and returns the arguments that fetch it.
func (k *kit) put(img *craft.Image) []string {
	k.site.Put("hostile", "1", img)
	return []string{"fetch", k.ref()}
}

func (k *kit) ref() string { return fmt.Sprintf("%s/hostile:1", k.addr()) }

// config makes a directory of configuration: path, content, path, content...
func (k *kit) config(files ...string) string {
	k.Helper()
	for i := 0; i < len(files); i += 2 {
		k.file(filepath.Join("config", files[i]), []byte(files[i+1]))
	}
	return "--local-config=" + filepath.Join(k.tmp, "config")
}

// trusting has names below prefix signed by a key.
func (k *kit) trusting(prefix string, keys ...[]byte) string {
	k.Helper()
	for _, data := range keys {
		key, err := signature.ParseKey(data)
		if err == nil {
			_, err = trust.Add(filepath.Join(k.tmp, "config"), prefix, key.Key)
		}
		if err != nil {
			k.Fatal(err)
		}
	}
	return "--local-config=" + filepath.Join(k.tmp, "config")
}

package runtime

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/image"
	"github.com/gantryrun/gantry/pods"
	"github.com/gantryrun/gantry/runtime/bundle"
)

// TestPrepare looks at everything that is on disk afterwards, under each umask that a caller may have.
func TestPrepare(t *testing.T) {
	for _, umask := range []int{0o022, 0, 0o077} {
		r, ref := testRuntime(t), testImage(t)
		old := unix.Umask(umask)
		req := request(ref)
		req.Name, req.Volumes = "web", []bundle.Volume{{Name: "v", Kind: bundle.KindEmpty, Mode: 0o1770, UID: 7}}
		req.Apps[0].Mounts = []bundle.Mount{{Volume: "v", Target: "/v"}}
		p, err := r.Prepare(t.Context(), req)
		unix.Umask(old)
		if err != nil {
			t.Fatal(err)
		}
		if s := stateOf(t, p.pod); s != pods.Starting {
			t.Errorf("while we have it: %s", s)
		}
		checkPrepared(t, p)
		if err := p.Release(); err != nil {
			t.Fatal(err)
		}
		pod, err := r.Pods().Open("web")
		if err != nil {
			t.Fatal(err)
		}
		if s := stateOf(t, pod); s != pods.Prepared {
			t.Errorf("afterwards: %s", s)
		}
		_ = pod.Close()
	}
}

func checkPrepared(t *testing.T, p *Prepared) {
	t.Helper()
	var spec specs.Spec
	data, err := os.ReadFile(filepath.Join(p.path, "apps/app/config.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &spec); err != nil {
		t.Fatal(err)
	}
	want := specs.User{UID: 101, GID: 0, AdditionalGids: []uint32{500}}
	want.GID = 102
	if diff := cmp.Diff(want, spec.Process.User); diff != "" {
		t.Error(diff)
	}
	sources := map[string]string{}
	for _, m := range spec.Mounts {
		sources[m.Destination] = m.Source
	}
	for target, volume := range map[string]string{"/v": "v", "/var/data": "app-0-var-data"} {
		if sources[target] != filepath.Join(p.path, "volumes", volume) {
			t.Errorf("%s is %s", target, sources[target])
		}
	}
	for path, want := range map[string]string{
		"": "700 0", "apps": "700 0", "apps/app": "700 0", "apps/app/app.json": "600 0", "apps/app/config.json": "600 0", "pod.json": "600 0",
		"volumes": "700 0", "volumes/v": "1770 7", "volumes/app-0-var-data": "755 0", "volumes/app-0-var-data/seed": "644 0",
	} {
		if got := modeAndOwner(t, filepath.Join(p.path, path)); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	if target, _ := os.Readlink(filepath.Join(p.path, "volumes/app-0-var-data/out")); target != "/etc/passwd" {
		t.Errorf("link in the volume: %q", target)
	}
	apps, err := p.pod.Apps()
	if err != nil || len(apps) != 1 {
		t.Fatal(apps, err)
	}
	if _, err := os.Stat(apps[0].Seccomp.Profile); err != nil {
		t.Error(err)
	}
}

func modeAndOwner(t *testing.T, path string) string {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatal(err)
	}
	return strings.TrimLeft(strings.TrimSpace(octal(st.Mode&0o7777)), "0") + " " + decimal(st.Uid)
}

func octal(n uint32) string {
	s := ""
	for ; n > 0; n /= 8 {
		s = string(rune('0'+n%8)) + s
	}
	return s
}

func decimal(n uint32) string {
	data, _ := json.Marshal(n)
	return string(data)
}

// TestPrepareRefuses: what cannot be is said, and leaves nothing behind.
func TestPrepareRefuses(t *testing.T) {
	r, ref := testRuntime(t), testImage(t)
	for _, tt := range []struct {
		name string
		edit func(*Request)
		is   error
		want string
	}{
		{"no image", func(q *Request) { q.Apps = nil }, ErrRequest, "no image"},
		{"two apps of one name", func(q *Request) { q.Apps = append(q.Apps, q.Apps[0]) }, ErrRequest, `two apps are called "app"`},
		{"unknown user", func(q *Request) { q.Apps[0].User = "nobody" }, bundle.ErrNoUser, `app app: user "nobody"`},
		{"overflowing user", func(q *Request) { q.Apps[0].User = "4294967296" }, nil, "is not between 0 and"},
		{"path of no owner", func(q *Request) { q.Apps[0].User = "/nowhere" }, os.ErrNotExist, "/nowhere"},
		{"missing source", func(q *Request) {
			q.Volumes = []bundle.Volume{{Name: "v", Kind: bundle.KindHost, Source: "/nowhere"}}
		}, ErrRequest, "does not exist: make it first"},
		{"volume twice", func(q *Request) {
			q.Volumes = []bundle.Volume{{Name: "v", Kind: bundle.KindEmpty}, {Name: "v", Kind: bundle.KindTmpfs}}
		}, ErrRequest, "defined twice"},
		{"no such volume", func(q *Request) { q.Apps[0].Mounts = []bundle.Mount{{Volume: "v", Target: "/v"}} }, nil, `there is no volume "v"`},
		{"after nobody", func(q *Request) { q.Apps[0].After = []string{"x"} }, ErrRequest, "no other app"},
		{"bad hostname", func(q *Request) { q.Hostname = "a b" }, ErrRequest, "hostname"},
		{"bad name", func(q *Request) { q.Name = "../x" }, ErrRequest, "name"},
		{"no device", func(q *Request) { q.Apps[0].Devices = []bundle.Device{{Source: "/dev/nowhere"}} }, nil, "/dev/nowhere"},
		{"no device file", func(q *Request) { q.Apps[0].Devices = []bundle.Device{{Source: "/etc/passwd"}} }, nil, "is no device file"},
		{"never pull", func(q *Request) {
			q.Pull, q.Apps[0].Image = PullNever, image.Ref{Kind: image.Registry, Registry: "reg.example", Repository: "x", Tag: "1"}
		}, image.ErrNotFound, "never"},
		{"unknown network", func(q *Request) {
			q.Net.Mode = ""
			q.Net.Networks = append(q.Net.Networks, struct {
				Name string      `json:"name"`
				Args [][2]string `json:"args,omitempty"`
			}{Name: "nowhere"})
		}, nil, "nowhere"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req := request(ref)
			tt.edit(req)
			_, err := r.Prepare(t.Context(), req)
			if err == nil || !strings.Contains(err.Error(), tt.want) || tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("got %v", err)
			}
		})
	}
	entries, err := os.ReadDir(r.Pods().Path())
	if err != nil && !os.IsNotExist(err) || len(entries) != 0 {
		t.Errorf("left behind: %v %v", entries, err)
	}
}

func TestNameIsUnique(t *testing.T) {
	r, ref := testRuntime(t), testImage(t)
	req := request(ref)
	req.Name = "web"
	p, err := r.Prepare(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	again := request(ref)
	again.Name = "web"
	if _, err := r.Prepare(t.Context(), again); !errors.Is(err, pods.ErrNameTaken) {
		t.Errorf("second pod of the name: %v", err)
	}
	if err := r.Drop(p); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Prepare(t.Context(), again); err != nil {
		t.Errorf("after the first is gone: %v", err)
	}
}

// TestHostileImageFiles: what an image has in place of its passwd is not read for ever, nor outside of it (ATTACKS F12).
func TestHostileImageFiles(t *testing.T) {
	needsRoot(t)
	dir := t.TempDir()
	if err := os.Mkdir(dir+"/etc", 0o755); err != nil {
		t.Fatal(err)
	}
	passwd := dir + "/etc/passwd"
	for name, plant := range map[string]func() error{
		"fifo":      func() error { return unix.Mkfifo(passwd, 0o644) },
		"device":    func() error { return unix.Mknod(passwd, unix.S_IFCHR|0o644, int(unix.Mkdev(1, 5))) },
		"directory": func() error { return os.Mkdir(passwd, 0o755) },
		"huge": func() error {
			if err := os.WriteFile(passwd, nil, 0o644); err != nil {
				return err
			}
			return os.Truncate(passwd, 10<<30)
		},
	} {
		if err := plant(); err != nil {
			t.Fatal(err)
		}
		if _, err := (imageRoot{[]string{dir}}).accounts(); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if err := os.RemoveAll(passwd); err != nil {
			t.Fatal(err)
		}
	}
	for _, target := range []string{"/etc/shadow", "../../../../../../etc/shadow", "/proc/self/environ", "passwd"} {
		if err := os.Symlink(target, passwd); err != nil {
			t.Fatal(err)
		}
		if acc, err := (imageRoot{[]string{dir}}).accounts(); err == nil && len(acc.Passwd) > 0 {
			t.Errorf("link to %s: read %d bytes", target, len(acc.Passwd))
		}
		_ = os.Remove(passwd)
	}
}

package fetch

import (
	"archive/tar"
	"bytes"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/ulikunitz/xz"

	"github.com/gantryrun/gantry/image"
	"github.com/gantryrun/gantry/image/appc"
	"github.com/gantryrun/gantry/image/order"
	"github.com/gantryrun/gantry/image/signature"
	"github.com/gantryrun/gantry/image/trust"
)

// aciOf makes an ACI of a manifest and files: name, content, name, content...
func aciOf(t testing.TB, manifest string, files ...string) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	put := func(h *tar.Header, content string) {
		h.Size = int64(len(content))
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	put(&tar.Header{Name: "manifest", Mode: 0o644, Typeflag: tar.TypeReg}, manifest)
	put(&tar.Header{Name: "rootfs/", Mode: 0o755, Typeflag: tar.TypeDir}, "")
	for i := 0; i < len(files); i += 2 {
		put(&tar.Header{Name: "rootfs/" + files[i], Mode: 0o644, Typeflag: tar.TypeReg}, files[i+1])
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func aciManifest(name, more string) string {
	return fmt.Sprintf(`{"acKind":"ImageManifest","acVersion":"0.8.11","name":%q%s}`, name, more)
}

const aciApp = `,"labels":[{"name":"os","value":"linux"},{"name":"arch","value":"amd64"},{"name":"version","value":"1.0"}],
	"app":{"exec":["/bin/app","--flag"],"user":"1000","group":"100","workingDirectory":"/srv","supplementaryGIDs":[4],
	"environment":[{"name":"A","value":"b"}],"mountPoints":[{"name":"data","path":"/data"}],
	"ports":[{"name":"http","protocol":"tcp","port":80,"count":2}],
	"eventHandlers":[{"name":"pre-start","exec":["/bin/prepare"]}],
	"isolators":[{"name":"resource/memory","value":{"limit":"1G"}}]},
	"annotations":[{"name":"created","value":"2020-01-02T03:04:05Z"},{"name":"authors","value":"Jane"},{"name":"run.gantry.x","value":"y"}]`

func xzOf(t testing.TB, data []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	w, err := xz.NewWriter(&buf)
	if err == nil {
		_, err = w.Write(data)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func bzip2Of(t testing.TB, data []byte) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bzip2", "-c")
	cmd.Stdin = bytes.NewReader(data)
	out, err := cmd.Output()
	if err != nil {
		t.Skipf("no bzip2 to make the archive with: %v", err)
	}
	return out
}

func writeFile(t testing.TB, path string, data []byte) string {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestFetchLocalACI: all compressions, one image; what the manifest says arrives.
func TestFetchLocalACI(t *testing.T) {
	plain := aciOf(t, aciManifest("example.com/app", aciApp), "etc/hostname", "box\n", "srv/x", "y")
	c := newClient(t)
	var ids []string
	for name, compress := range map[string]func(testing.TB, []byte) []byte{
		"tar": func(_ testing.TB, d []byte) []byte { return d }, "gzip": gz, "xz": xzOf, "bzip2": bzip2Of,
	} {
		t.Run(name, func(t *testing.T) {
			ref := mustRef(t, writeFile(t, filepath.Join(t.TempDir(), "app.aci"), compress(t, plain)))
			img, err := c.Fetch(t.Context(), ref, order.Options{Platform: "linux/amd64"})
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, img.ID.String())
			wantFile(t, c.Store, img, "/etc/hostname", "box\n")
		})
	}
	if slices.Sort(ids); len(slices.Compact(ids)) != 1 {
		t.Fatalf("images of one archive, differently compressed: %v", ids)
	}
	img, err := c.Store.Get(t.Context(), mustRef(t, ids[0]))
	if err != nil {
		t.Fatal(err)
	}
	config := img.Config.Config
	sum := sha512.Sum512(plain)
	want := config
	want.User, want.Entrypoint, want.Cmd, want.WorkingDir, want.Env = "1000:100", []string{"/bin/app", "--flag"}, nil, "/srv", []string{"A=b"}
	want.Volumes = map[string]struct{}{"/data": {}}
	want.ExposedPorts = map[string]struct{}{"80/tcp": {}, "81/tcp": {}}
	want.Labels = map[string]string{
		appc.LabelName: "example.com/app", appc.LabelID: "sha512-" + hex.EncodeToString(sum[:]),
		appc.LabelLabels:        `[{"name":"os","value":"linux"},{"name":"arch","value":"amd64"},{"name":"version","value":"1.0"}]`,
		appc.LabelIsolators:     `[{"name":"resource/memory","value":{"limit":"1G"}}]`,
		appc.LabelEventHandlers: `[{"name":"pre-start","exec":["/bin/prepare"]}]`,
		appc.LabelMountPoints:   `[{"name":"data","path":"/data","readOnly":false}]`,
		appc.LabelPorts:         `[{"name":"http","protocol":"tcp","port":80,"count":2,"socketActivated":false}]`,
		appc.LabelGIDs:          `[4]`, "created": "2020-01-02T03:04:05Z", "authors": "Jane",
	}
	if diff := cmp.Diff(want, config); diff != "" {
		t.Error(diff)
	}
	if img.Config.Author != "Jane" || img.Config.Created == nil || img.Config.OS != "linux" {
		t.Errorf("config is %+v", img.Config)
	}
}

// TestDiscovery: by name, up the parents, with dependencies stacked in their order and whitelists applied.
func TestDiscovery(t *testing.T) {
	h := newAppcHost(t)
	label := `,"labels":[{"name":"version","value":"1"}]`
	h.serve("/base-latest-linux-amd64.aci", aciOf(t, aciManifest(h.name+"/base", ""), "etc/a", "base", "etc/b", "base", "etc/c", "base"))
	lib := aciOf(t, aciManifest(h.name+"/lib", label+`,"dependencies":[{"imageName":"`+h.name+`/base"}],"pathWhitelist":["/etc/a","/etc/b"]`), "etc/b", "lib", "etc/d", "lib")
	h.serve("/lib-1-linux-amd64.aci", gz(t, lib))
	sum := sha512.Sum512(lib)
	h.serve("/a/app-latest-linux-amd64.aci", aciOf(t, aciManifest(h.name+"/a/app",
		`,"dependencies":[{"imageName":"`+h.name+`/lib","imageID":"sha512-`+hex.EncodeToString(sum[:])+`","labels":[{"name":"version","value":"1"}]}]`), "etc/e", "app"))
	c := newClient(t)
	c.InsecureTLS = true
	img, err := c.Fetch(t.Context(), mustRef(t, "aci:"+h.name+"/a/app"), order.Options{Platform: "linux/amd64"})
	if err != nil {
		t.Fatal(err)
	}
	if len(img.DiffIDs) != 3 {
		t.Errorf("%d layers", len(img.DiffIDs))
	}
	for name, want := range map[string]string{"/etc/a": "base", "/etc/b": "lib", "/etc/c": "", "/etc/d": "", "/etc/e": "app"} {
		got, err := readFile(t, c.Store, img, name)
		if string(got) != want || (err == nil) != (want != "") {
			t.Errorf("%s is %q, %v: want %q", name, got, err, want)
		}
	}
	if want := []string{"/a/app?ac-discovery=1", "/a?ac-discovery=1"}; !slices.Equal(h.seen[:2], want) {
		t.Errorf("asked %q, want %q first", h.seen, want)
	}
	if entries, err := filepath.Glob(c.Store.Dir() + "/*/.new-*"); err != nil || len(entries) > 0 {
		t.Errorf("left: %v, %v", entries, err)
	}
}

// TestDiscoveryRefuses what is not what was asked for.
func TestDiscoveryRefuses(t *testing.T) {
	h := newAppcHost(t)
	app := h.name + "/app"
	dep := func(name string) string { return `,"dependencies":[{"imageName":"` + name + `"}]` }
	for name, tc := range map[string]struct {
		ref, manifest string
		want          error
	}{
		"nowhere":           {"aci:" + h.name + "/other", "", image.ErrNotFound},
		"other name":        {"aci:" + app, aciManifest(h.name+"/evil", ""), appc.ErrInvalid},
		"other version":     {"aci:" + app + ":2", aciManifest(app, `,"labels":[{"name":"version","value":"1"}]`), appc.ErrInvalid},
		"itself":            {"aci:" + app, aciManifest(app, dep(app)), appc.ErrInvalid},
		"no dependency":     {"aci:" + app, aciManifest(app, dep(h.name+"/gone")), image.ErrNotFound},
		"other platform":    {"aci:" + app, aciManifest(app, `,"labels":[{"name":"arch","value":"s390x"}]`), image.ErrPlatform},
		"not HTTPS":         {"aci:" + app, "http", image.ErrNotFound},
		"bad name":          {"aci:" + h.name + "/../x", "", image.ErrBadRef},
		"no manifest there": {"aci:" + app, "text", appc.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			h.pages = map[string][]byte{}
			for _, version := range []string{"latest", "2"} {
				h.serve("/app-"+version+"-linux-amd64.aci", aciOf(t, tc.manifest))
			}
			if tc.manifest == "http" {
				h.pages["/?ac-discovery=1"] = bytes.ReplaceAll(h.pages["/?ac-discovery=1"], []byte("https:"), []byte("http:"))
			}
			c := newClient(t)
			c.InsecureTLS = true
			img, err := c.Fetch(t.Context(), mustRef(t, tc.ref), order.Options{Platform: "linux/amd64"})
			if !errors.Is(err, tc.want) {
				t.Fatalf("got %v, %v: want %v", img, err, tc.want)
			}
			if list, err := c.Store.List(t.Context()); err != nil || len(list) != 0 {
				t.Errorf("stored: %v, %v", list, err)
			}
		})
	}
}

// TestACILoop: two images that depend on each other, and one that depends on ever longer chains, end soon.
func TestACILoop(t *testing.T) {
	h := newAppcHost(t)
	for i := range 40 {
		h.serve(fmt.Sprintf("/n%d-latest-linux-amd64.aci", i), aciOf(t, aciManifest(fmt.Sprintf("%s/n%d", h.name, i),
			fmt.Sprintf(`,"dependencies":[{"imageName":"%[1]s/n%[2]d"},{"imageName":"%[1]s/n%[2]d"}]`, h.name, i+1))))
	}
	h.serve("/a-latest-linux-amd64.aci", aciOf(t, aciManifest(h.name+"/a", `,"dependencies":[{"imageName":"`+h.name+`/b"}]`)))
	h.serve("/b-latest-linux-amd64.aci", aciOf(t, aciManifest(h.name+"/b", `,"dependencies":[{"imageName":"`+h.name+`/a"}]`)))
	c := newClient(t)
	c.InsecureTLS = true
	for name, want := range map[string]error{"a": appc.ErrInvalid, "n0": image.ErrLimit} {
		h.seen = nil
		if _, err := c.Fetch(t.Context(), mustRef(t, "aci:"+h.name+"/"+name), order.Options{Platform: "linux/amd64"}); !errors.Is(err, want) {
			t.Errorf("%s: %v", name, err)
		}
		if len(h.seen) > 200 {
			t.Errorf("%s: %d requests", name, len(h.seen))
		}
	}
}

// TestACISigned: the detached signature is asked for where the policy wants one, beside the archive.
func TestACISigned(t *testing.T) {
	h := newAppcHost(t)
	entity, err := openpgp.NewEntity("Jane", "", "jane@example.com", nil)
	if err != nil {
		t.Fatal(err)
	}
	var public, sig bytes.Buffer
	if err := entity.Serialize(&public); err != nil {
		t.Fatal(err)
	}
	key, err := signature.ParseKey(public.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	policy := func(prefix string) *trust.Policy {
		dir := t.TempDir()
		if _, err := trust.Add(dir, prefix, key.Key); err != nil {
			t.Fatal(err)
		}
		p, err := trust.Load([]string{dir})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	app := gz(t, aciOf(t, aciManifest(h.name+"/app", ""), "a", "a"))
	if err := openpgp.ArmoredDetachSign(&sig, []*openpgp.Entity{entity}, bytes.NewReader(app), nil); err != nil {
		t.Fatal(err)
	}
	h.serve("/app-latest-linux-amd64.aci", app)
	h.pages["/x.aci"] = app
	local := writeFile(t, filepath.Join(t.TempDir(), "x.aci"), app)
	for _, tc := range []struct{ ref, asc, prefix string }{
		{"aci:" + h.name + "/app", "/get/" + h.name + "/app-latest-linux-amd64.aci.asc", h.name},
		{"https://" + h.name + "/x.aci", "/x.aci.asc", h.name},
		{local, "", ""},
	} {
		ref, opts := mustRef(t, tc.ref), order.Options{Platform: "linux/amd64"}
		c := newClient(t)
		c.InsecureTLS, c.Trust = true, policy(tc.prefix)
		put := func(data []byte) {
			if tc.asc == "" {
				writeFile(t, local+".asc", data)
			}
			h.pages[tc.asc] = data
		}
		if _, err := c.Fetch(t.Context(), ref, opts); !errors.Is(err, trust.ErrUntrusted) {
			t.Errorf("%s unsigned: %v", tc.ref, err)
		}
		put([]byte(strings.Replace(sig.String(), "\n\n", "\n\nAAAA", 1)))
		if _, err := c.Fetch(t.Context(), ref, opts); !errors.Is(err, trust.ErrUntrusted) {
			t.Errorf("%s badly signed: %v", tc.ref, err)
		}
		put(sig.Bytes())
		img, err := c.Fetch(t.Context(), ref, opts)
		if err != nil || img.Evidence.Format != signature.FormatOpenPGP || img.Evidence.Key != key.Fingerprint {
			t.Errorf("%s signed: %+v, %v", tc.ref, img, err)
		}
		delete(h.pages, tc.asc)
		if tc.asc == "" {
			err = os.Remove(local + ".asc")
		}
		opts.Signature = writeFile(t, filepath.Join(t.TempDir(), "sig"), sig.Bytes())
		if img, err2 := c.Fetch(t.Context(), ref, opts); errors.Join(err, err2) != nil {
			t.Errorf("%s, signature given: %v, %v, %v", tc.ref, img, err, err2)
		}
	}
}

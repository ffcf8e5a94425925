package fetch

import (
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gantryrun/gantry/image"
	"github.com/gantryrun/gantry/image/order"
)

// configDir makes a configuration directory of files: path, content, path, content...
func configDir(t *testing.T, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for i := 0; i < len(files); i += 2 {
		path := filepath.Join(dir, files[i])
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(files[i+1]), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func registries(rules string) string {
	return `{"kind":"registries","version":"v1","registries":[` + rules + `]}`
}

func TestEndpoints(t *testing.T) {
	vendor := configDir(t, "registries.d/a.json", registries(
		`{"prefix":"reg.example","mirrors":[{"location":"mirror.example/cache"}],"ca":"ca.pem"},
		 {"prefix":"reg.example/team","insecure":true},
		 {"prefix":"reg.example/team/app","mirrors":[{"location":"127.0.0.1:5000","insecure":true},{"location":"two.example/x"}]},
		 {"prefix":"evil.example","blocked":true},{"prefix":"evil.example/good","blocked":false}`))
	local := configDir(t, "registries.d/b.json", registries(`{"prefix":"reg.example","mirrors":[]}`), "registries.d/note.txt", "not read")
	for name, tc := range map[string]struct {
		dirs []string
		ref  string
		want []string
		err  error
	}{
		"nothing configured":    {nil, "reg.example/x/y", []string{"reg.example x/y"}, nil},
		"mirror":                {[]string{vendor}, "reg.example/x/y", []string{"mirror.example cache/x/y", "reg.example x/y"}, nil},
		"overridden":            {[]string{vendor, local}, "reg.example/x/y", []string{"reg.example x/y"}, nil},
		"longer prefix":         {[]string{vendor}, "reg.example/team/x", []string{"reg.example team/x insecure"}, nil},
		"longest prefix":        {[]string{vendor}, "reg.example/team/app/x", []string{"127.0.0.1:5000 x insecure", "two.example x/x", "reg.example team/app/x"}, nil},
		"whole components only": {[]string{vendor}, "reg.example/teams/x", []string{"mirror.example cache/teams/x", "reg.example teams/x"}, nil},
		"another port":          {[]string{vendor}, "reg.example:444/x", []string{"reg.example:444 x"}, nil},
		"another host":          {[]string{vendor}, "reg.example.evil/x", []string{"reg.example.evil x"}, nil},
		"blocked":               {[]string{vendor}, "evil.example/x", nil, image.ErrBlocked},
		"less blocked":          {[]string{vendor}, "evil.example/good/x", []string{"evil.example good/x"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			list, err := (&Client{ConfigDirs: tc.dirs}).endpoints(mustRef(t, tc.ref))
			if !errors.Is(err, tc.err) {
				t.Fatal(err)
			}
			var got []string
			for i, e := range list {
				s := e.host + " " + e.repository
				if e.plainHTTP && e.anyCert {
					s += " insecure"
				}
				got = append(got, s)
				if e.mirror != (i < len(list)-1) {
					t.Errorf("%s: mirror is %v", s, e.mirror)
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestConfigRefuses(t *testing.T) {
	for name, content := range map[string]string{
		"unknown field":      registries(`{"prefix":"reg.example","blokced":true}`),
		"wrong kind":         `{"kind":"auth","version":"v1","registries":[]}`,
		"wrong version":      `{"kind":"registries","version":"v2","registries":[]}`,
		"upper case":         registries(`{"prefix":"Reg.example"}`),
		"URL":                registries(`{"prefix":"https://reg.example"}`),
		"trailing slash":     registries(`{"prefix":"reg.example/"}`),
		"no host":            registries(`{"prefix":"library"}`),
		"bad mirror":         registries(`{"prefix":"reg.example","mirrors":[{"location":"a b"}]}`),
		"empty":              "",
		"two documents":      registries("") + registries(""),
		"no JSON whatsoever": "prefix: reg.example",
	} {
		t.Run(name, func(t *testing.T) {
			dir := configDir(t, "registries.d/x.json", content)
			_, err := (&Client{ConfigDirs: []string{dir}}).endpoints(mustRef(t, "reg.example/x"))
			if !errors.Is(err, image.ErrConfig) || !strings.Contains(err.Error(), dir+"/registries.d/x.json") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestMirrors(t *testing.T) {
	origin, mirror := newRegistry(t), newRegistry(t)
	img := newImage(t, gzLayer(t, "a", numbered(1<<20)))
	ref := origin.push(t, "team/app:v1", img)
	mirror.push(t, "cache/team/app:v1", img)
	dir := configDir(t, "registries.d/x.json", registries(`{"prefix":"`+origin.host()+`","mirrors":[{"location":"`+mirror.host()+`/cache"}]}`))
	for name, tc := range map[string]struct {
		fault func(w http.ResponseWriter, r *http.Request) bool
		asked bool // the origin
	}{
		"mirror serves":   {nil, false},
		"mirror is empty": {func(w http.ResponseWriter, r *http.Request) bool { w.WriteHeader(http.StatusNotFound); return true }, true},
		"mirror lies": {func(w http.ResponseWriter, r *http.Request) bool {
			if strings.Contains(r.URL.Path, "/blobs/") {
				_, _ = w.Write([]byte("something else"))
				return true
			}
			return false
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			mirror.on(tc.fault)
			origin.on(nil)
			c := newClient(t)
			c.ConfigDirs = []string{dir}
			got, err := c.Fetch(t.Context(), ref, order.Options{})
			if err != nil || got.Names[0] != ref.String() {
				t.Fatalf("%v, %v", got, err)
			}
			if asked := origin.requests("/") > 0; asked != tc.asked {
				t.Errorf("origin asked: %v", asked)
			}
		})
	}
	mirror.Close()
	origin.Close()
	c := newClient(t)
	c.ConfigDirs = []string{dir}
	if _, err := c.Fetch(t.Context(), ref, order.Options{}); !errors.Is(err, image.ErrUnreachable) || strings.Contains(err.Error(), "\n") ||
		!strings.Contains(err.Error(), "mirror "+mirror.host()) {
		t.Errorf("nobody there: %v", err)
	}
}

func TestOwnCA(t *testing.T) {
	reg := newRegistry(t)
	ref := reg.push(t, "app:v1", newImage(t, gzLayer(t, "a", "a")))
	secure := httptest.NewTLSServer(reg)
	t.Cleanup(secure.Close)
	ref.Registry = strings.TrimPrefix(secure.URL, "https://")
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})
	for ca, want := range map[string]string{"ca.pem": "", "none.pem": "none.pem", "x.json": "no certificate"} {
		c := newClient(t)
		c.ConfigDirs = []string{configDir(t,
			"registries.d/x.json", registries(`{"prefix":"`+ref.Registry+`","ca":"`+ca+`"}`), "registries.d/ca.pem", string(cert))}
		_, err := c.Fetch(t.Context(), ref, order.Options{})
		if (want == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v", ca, err)
		}
	}
}

func TestConfiguredAuth(t *testing.T) {
	t.Setenv("REGISTRY_AUTH_FILE", filepath.Join(t.TempDir(), "none"))
	at := endpoint{host: "reg.example:5000", repository: "app"}
	for name, tc := range map[string]struct{ file, user, token, bad string }{
		"basic":       {`{"kind":"auth","version":"v1","domains":["reg.example:5000"],"type":"basic","credentials":{"user":"u","password":"p"}}`, "u", "", ""},
		"bearer":      {`{"kind":"auth","version":"v1","domains":["reg.example:5000"],"type":"bearer","credentials":{"token":"t"}}`, "", "t", ""},
		"rkt":         {`{"rktKind":"auth","rktVersion":"v1","domains":["reg.example:5000"],"type":"basic","credentials":{"user":"u","password":"p"}}`, "u", "", ""},
		"rkt, oauth":  {`{"rktKind":"auth","rktVersion":"v1","domains":["reg.example:5000"],"type":"oauth","credentials":{"token":"t"}}`, "", "t", ""},
		"rkt, docker": {`{"rktKind":"dockerAuth","rktVersion":"v1","registries":["reg.example:5000"],"credentials":{"user":"u","password":"p"}}`, "u", "", ""},
		"other host":  {`{"kind":"auth","version":"v1","domains":["reg.example"],"type":"basic","credentials":{"user":"u","password":"p"}}`, "", "", ""},
		"wrong kind":  {`{"kind":"x","version":"v1"}`, "", "", "x.json"},
		"both kinds":  {`{"kind":"auth","version":"v1","rktKind":"auth"}`, "", "", "x.json"},
		"type":        {`{"kind":"auth","version":"v1","domains":["reg.example:5000"],"type":"digest","credentials":{"user":"canary"}}`, "", "", "x.json"},
		"field":       {`{"kind":"auth","version":"v1","domains":["reg.example:5000"],"type":"basic","credentials":{"user":"u","pasword":"canary"}}`, "", "", "x.json"},
	} {
		t.Run(name, func(t *testing.T) {
			auth, err := (&Client{ConfigDirs: []string{configDir(t, "auth.d/x.json", tc.file)}}).credentials(t.Context(), at)
			if tc.bad != "" {
				if !errors.Is(err, image.ErrConfig) || !strings.Contains(err.Error(), tc.bad) || strings.Contains(err.Error(), "canary") {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			config, err := auth.Authorization()
			if err != nil || config.Username != tc.user || config.RegistryToken != tc.token {
				t.Errorf("%+v, %v", config, err)
			}
		})
	}
}

func TestKeepBlobs(t *testing.T) {
	reg, c := newRegistry(t), newClient(t)
	ref := reg.push(t, "app:v1", newImage(t, gzLayer(t, "a", "a"), gzLayer(t, "b", "b")))
	for _, keep := range []bool{false, true, true} {
		img, err := c.Fetch(t.Context(), ref, order.Options{KeepBlobs: keep})
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range img.Manifest.Layers {
			if has, err := c.Store.HasBlob(l.Digest); err != nil || has != keep {
				t.Errorf("keep %v: blob %s is there: %v, %v", keep, l.Digest, has, err)
			}
		}
	}
	if _, err := c.Store.GC(t.Context(), image.GCOptions{Unused: true}); err != nil {
		t.Fatal(err)
	}
	wantEmpty(t, c.Store)
}

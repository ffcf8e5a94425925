package podmanifest

import (
	"strings"
	"testing"

	"github.com/gantryrun/gantry/runtime"
)

const minimal = `{"acKind":"PodManifest","acVersion":"0.8.11","apps":[{"name":"a","image":{"id":"sha512-0123456789"}APP}]MORE}`

func with(app, more string) string {
	return strings.NewReplacer("APP", app, "MORE", more).Replace(minimal)
}

func TestParse(t *testing.T) {
	req := &runtime.Request{}
	apps, err := Parse([]byte(with(`,"readOnlyRootFS":true,"mounts":[{"volume":"v","path":"/a/../b","appVolume":{"name":"v","kind":"empty","mode":"0700","uid":3}}]`,
		`,"ports":[{"name":"www","hostPort":8080,"hostIP":"::1"},{"name":"x","hostPort":1,"podPort":{"name":"x","protocol":"udp","port":2}}],
		"isolators":[{"name":"resource/memory","value":{"limit":"1G"}}],"annotations":[{"name":"n","value":"v"}]`)), req)
	if err != nil {
		t.Fatal(err)
	}
	a := apps[0]
	if a.Name != "a" || !a.ReadOnlyRootfs || !a.Essential || a.Image.String() != "sha512-0123456789" || a.Mounts[0].Target != "/b" || a.Resources.Memory != 1e9 {
		t.Errorf("app %+v", a)
	}
	if v := req.Volumes[0]; v.Kind != "empty" || v.Mode != 0o700 || v.UID != 3 {
		t.Errorf("volume %+v", v)
	}
	if p := req.Ports; len(p) != 2 || p[0].String() != "www:[::1]:8080" || p[1].String() != "1:2/udp" {
		t.Errorf("ports %v", p)
	}
	if req.Annotations["n"] != "v" {
		t.Errorf("annotations %v", req.Annotations)
	}
	apps, err = Parse([]byte(strings.Replace(with("", ""), `"id":"sha512-0123456789"`, `"name":"example.com/a","labels":[{"name":"version","value":"1"},{"name":"os","value":"linux"}]`, 1)), &runtime.Request{})
	if err != nil || apps[0].Image.String() != "aci:example.com/a:1,os=linux" {
		t.Errorf("by name: %v %v", apps, err)
	}
}

func TestRefused(t *testing.T) {
	for text, want := range map[string]string{
		`[]`:                                "cannot unmarshal",
		with(``, `}{`):                      "bytes after",
		with(`,"x":1`, ``):                  `unknown field "x"`,
		with(``, `,"acKind":"PodManifest"`): "twice",
		strings.Replace(with("", ""), "PodManifest", "ImageManifest", 1):                           "want PodManifest",
		strings.Replace(with("", ""), `"0.8.11"`, `"1.0"`, 1):                                      "acVersion",
		strings.Replace(with("", ""), `"name":"a"`, `"name":"../a"`, 1):                            `"../a"`,
		strings.Replace(with("", ""), `"id":"sha512-0123456789"`, ``, 1):                           "neither an id nor a name",
		strings.Replace(with("", ""), `sha512-0123456789`, `nginx`, 1):                             "want sha512",
		`{"acKind":"PodManifest","acVersion":"0.8.11","apps":[]}`:                                  "no apps",
		with(`,"mounts":[{"volume":"v","path":"/proc/x"}]`, ``):                                    "cannot be mounted over",
		with(`,"mounts":[{"volume":"v","path":"b"}]`, ``):                                          "absolute",
		with(`,"mounts":[{"volume":"v","path":"/b","appVolume":{"name":"w","kind":"empty"}}]`, ``): "appVolume",
		with(``, `,"volumes":[{"name":"v","kind":"host"}]`):                                        "source",
		with(``, `,"volumes":[{"name":"v","kind":"empty","source":"/x"}]`):                         "no meaning",
		with(``, `,"volumes":[{"name":"v","kind":"empty","uid":-1}]`):                              "uid",
		with(``, `,"ports":[{"name":"w","hostPort":70000}]`):                                       "70000",
		with(``, `,"ports":[{"name":"w","hostPort":1,"hostIP":"x"}]`):                              "no address",
		with(``, `,"annotations":[{"name":"n","value":"v"},{"name":"n","value":"v"}]`):             "once",
		with(``, `,"isolators":[{"name":"example.com/x","value":1}]`):                              "example.com/x",
	} {
		_, err := Parse([]byte(text), &runtime.Request{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n%v, want %q", text, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(with("", ""))
	f.Add(with(`,"mounts":[{"volume":"v","path":"/b","appVolume":{"name":"v","kind":"empty","mode":"0700"}}]`, `,"ports":[{"name":"www","hostPort":8080}]`))
	f.Add(with(`,"app":{"exec":["/a"],"user":"0","group":"0","isolators":[{"name":"resource/cpu","value":{"limit":"1"}}]}`, ``))
	f.Fuzz(func(t *testing.T, text string) {
		apps, err := Parse([]byte(text), &runtime.Request{})
		if err == nil && (len(apps) == 0 || apps[0].Name == "" || apps[0].Image.String() == "") {
			t.Errorf("%q: %+v", text, apps)
		}
	})
}

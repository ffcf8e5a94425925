package appc

import (
	"errors"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

var amd64 = ocispec.Platform{OS: "linux", Architecture: "amd64"}

const goodManifest = `{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/app"}`

// with adds fields to the manifest.
func with(more string) string { return goodManifest[:len(goodManifest)-1] + "," + more + "}" }

func app(more string) string {
	return with(`"app":{"exec":["/a"],"user":"0","group":"0"` + more + `}`)
}

func TestParseManifest(t *testing.T) {
	for name, text := range map[string]string{
		"least":      goodManifest,
		"app":        app(""),
		"docs":       with(`"labels":[{"name":"version","value":"1.0.0"},{"name":"os","value":"linux"}],"annotations":[{"name":"authors","value":"x"}]`),
		"dependency": with(`"dependencies":[{"imageName":"a.b/c","imageID":"sha512-` + strings.Repeat("0", 128) + `","labels":[{"name":"os","value":"linux"}],"size":5}]`),
		"no exec":    with(`"app":{"exec":[],"user":"0","group":"0"}`),
		"isolators":  app(`,"isolators":[{"name":"os/linux/capabilities-retain-set","value":{"set":["CAP_KILL"]}}]`),
	} {
		if _, err := ParseManifest([]byte(text)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, text := range map[string]string{
		"empty":                 "",
		"array":                 "[]",
		"kind":                  strings.Replace(goodManifest, "ImageManifest", "PodManifest", 1),
		"version":               strings.Replace(goodManifest, "0.8.11", "1.0.0", 1),
		"no name":               strings.Replace(goodManifest, "example.com/app", "", 1),
		"name in upper case":    strings.Replace(goodManifest, "example", "Example", 1),
		"name climbs":           strings.Replace(goodManifest, "/app", "/../app", 1),
		"name with slash":       strings.Replace(goodManifest, "/app", "/", 1),
		"unknown field":         with(`"apps":{}`),
		"field twice":           with(`"name":"example.com/other"`),
		"field in two cases":    with(`"Name":"example.com/other"`),
		"bytes after":           goodManifest + "x",
		"label twice":           with(`"labels":[{"name":"os","value":"a"},{"name":"os","value":"b"}]`),
		"label's name":          with(`"labels":[{"name":"O S","value":"a"}]`),
		"dependency":            with(`"dependencies":[{"imageName":"../x"}]`),
		"dependency's ID":       with(`"dependencies":[{"imageName":"a","imageID":"sha512-../x"}]`),
		"dependencies":          with(`"dependencies":[` + strings.Repeat(`{"imageName":"a"},`, 64) + `{"imageName":"a"}]`),
		"whitelist climbs":      with(`"pathWhitelist":["/a/../b"]`),
		"whitelist relative":    with(`"pathWhitelist":["a"]`),
		"exec relative":         with(`"app":{"exec":["a"],"user":"0","group":"0"}`),
		"exec with NUL":         with(`"app":{"exec":["/a","\u0000"],"user":"0","group":"0"}`),
		"no user":               with(`"app":{"exec":["/a"],"group":"0"}`),
		"user of a file climbs": with(`"app":{"exec":["/a"],"user":"/../etc/passwd","group":"0"}`),
		"user is two":           with(`"app":{"exec":["/a"],"user":"0:0","group":"0"}`),
		"directory":             app(`,"workingDirectory":"x"`),
		"directory climbs":      app(`,"workingDirectory":"/../x"`),
		"environment":           app(`,"environment":[{"name":"A=B","value":"x"}]`),
		"environment, line":     app(`,"environment":[{"name":"A\nB","value":"x"}]`),
		"environment, NUL":      app(`,"environment":[{"name":"A","value":"\u0000"}]`),
		"handler":               app(`,"eventHandlers":[{"name":"post-start","exec":["/a"]}]`),
		"handler relative":      app(`,"eventHandlers":[{"name":"pre-start","exec":["a"]}]`),
		"mount point":           app(`,"mountPoints":[{"name":"a","path":"b"}]`),
		"mount point on root":   app(`,"mountPoints":[{"name":"a","path":"/"}]`),
		"mount point's name":    app(`,"mountPoints":[{"name":"a/b","path":"/b"}]`),
		"port":                  app(`,"ports":[{"name":"a","protocol":"tcp","port":0}]`),
		"port too high":         app(`,"ports":[{"name":"a","protocol":"tcp","port":65536}]`),
		"ports beyond the end":  app(`,"ports":[{"name":"a","protocol":"tcp","port":65535,"count":2}]`),
		"ports without end":     app(`,"ports":[{"name":"a","protocol":"tcp","port":1,"count":18446744073709551615}]`),
		"protocol":              app(`,"ports":[{"name":"a","protocol":"icmp","port":1}]`),
		"isolator":              app(`,"isolators":[{"name":"","value":1}]`),
		"deep":                  app(`,"isolators":[{"name":"x","value":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}]`),
	} {
		if _, err := ParseManifest([]byte(text)); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzManifest(f *testing.F) {
	f.Add([]byte(goodManifest))
	f.Add([]byte(app(`,"ports":[{"name":"a","protocol":"tcp","port":1,"count":3}],"environment":[{"name":"A","value":"b"}]`)))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ParseManifest(data)
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("error is no ErrInvalid: %v", err)
			}
			return
		}
		config, err := m.ImageConfig(amd64, "sha512-x", nil)
		if err != nil {
			return
		}
		for _, kv := range config.Config.Env {
			if strings.ContainsRune(kv, 0) || !strings.Contains(kv, "=") {
				t.Errorf("environment %q", kv)
			}
		}
		if len(config.Config.ExposedPorts) > maxPorts {
			t.Errorf("%d ports", len(config.Config.ExposedPorts))
		}
	})
}

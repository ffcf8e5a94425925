package image

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
)

const hex64 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func TestParseRef(t *testing.T) {
	for _, tc := range []struct {
		in, want string
		kind     Kind
	}{
		{"nginx", "docker.io/library/nginx:latest", Registry},
		{"nginx:1.27", "docker.io/library/nginx:1.27", Registry},
		{"user/app", "docker.io/user/app:latest", Registry},
		{"docker.io/nginx", "docker.io/library/nginx:latest", Registry},
		{"index.docker.io/library/nginx", "docker.io/library/nginx:latest", Registry},
		{"docker://nginx", "docker.io/library/nginx:latest", Registry},
		{"docker://127.0.0.1:5000/nginx:1", "127.0.0.1:5000/nginx:1", Registry},
		{"reg.example/app:v1", "reg.example/app:v1", Registry},
		{"Reg.Example/app", "reg.example/app:latest", Registry},
		{"reg.example:5000/a/b/c", "reg.example:5000/a/b/c:latest", Registry},
		{"localhost/app", "localhost/app:latest", Registry},
		{"localhost:5000/app", "localhost:5000/app:latest", Registry},
		{"[::1]:5000/app", "[::1]:5000/app:latest", Registry},
		{"reg.example/app@sha256:" + hex64, "reg.example/app@sha256:" + hex64, Registry},
		{"reg.example/app:v1@sha256:" + hex64, "reg.example/app@sha256:" + hex64, Registry},
		{"oci", "docker.io/library/oci:latest", Registry},
		{"oci:/srv/layout", "oci:/srv/layout", OCILayout},
		{"oci:/srv/../srv/layout:v1", "oci:/srv/layout:v1", OCILayout},
		{"oci-archive:/a.tar:reg.example/app:v1", "oci-archive:/a.tar:reg.example/app:v1", OCIArchive},
		{"docker-archive:/a.tar", "docker-archive:/a.tar", DockerArchive},
		{"/srv/image.tar", "/srv/image.tar", File},
		{"/srv//a:b", "/srv/a:b", File},
		{"file:///srv/image.tar", "/srv/image.tar", File},
		{"https://example.com/x.aci", "https://example.com/x.aci", ACI},
		{"aci:example.com/app:1,os=linux", "aci:example.com/app:1,os=linux", ACI},
		{"sha256:0123456", "sha256:0123456", ID},
		{"sha256:" + hex64, "sha256:" + hex64, ID},
		{hex64, "sha256:" + hex64, ID},
		{"sha512-0123456789", "sha512-0123456789", ID},
	} {
		t.Run(tc.in, func(t *testing.T) {
			got, err := ParseRef(tc.in)
			if err != nil {
				t.Fatal(err)
			}
			if got.Kind != tc.kind || got.String() != tc.want {
				t.Errorf("got %q of kind %d, want %q of kind %d", got, got.Kind, tc.want, tc.kind)
			}
			again, err := ParseRef(got.String())
			if err != nil || cmp.Diff(got, again) != "" {
				t.Errorf("canonical form does not parse to itself: %v %v", again, err)
			}
		})
	}
}

func TestParseRefRefuses(t *testing.T) {
	for name, in := range map[string]string{
		"empty":                "",
		"upper case":           "reg.example/App",
		"parent":               "reg.example/a/../b",
		"parent first":         "reg.example/../b",
		"empty component":      "reg.example/a//b",
		"trailing slash":       "reg.example/a/",
		"trailing dot":         "reg.example./a",
		"escape":               "reg.example/a%2f..%2fb",
		"user":                 "user@reg.example/a",
		"port":                 "reg.example:x/a",
		"long port":            "reg.example:123456/a",
		"query":                "reg.example/a?b=c",
		"IDN":                  "régistre.example/a",
		"newline":              "nginx\n",
		"escape sequence":      "nginx\x1b[2J",
		"NUL":                  "nginx\x00",
		"invalid UTF-8":        "nginx\xff",
		"digest path":          "reg.example/a@sha256:../../../../tmp/x",
		"digest upper":         "reg.example/a@sha256:" + strings.ToUpper(hex64),
		"digest short":         "reg.example/a@sha256:" + hex64[:63],
		"digest sha1":          "reg.example/a@sha1:" + hex64[:40],
		"digest sha512":        "reg.example/a@sha512:" + hex64 + hex64,
		"digest escaped":       "reg.example/a@sha256:..%2f",
		"tag too long":         "reg.example/a:" + strings.Repeat("x", 129),
		"tag starts with -":    "reg.example/a:-x",
		"ID too short":         "sha256:012345",
		"image by URL":         "https://reg.example/app",
		"credentials in a URL": "https://user:secret@example.com/x.aci",
		"file on other host":   "file://host/x",
		"oci without path":     "oci:",
		"oci empty tag":        "oci:/x:",
		"long":                 strings.Repeat("a/", 2000) + "b",
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := ParseRef(in); !errors.Is(err, ErrBadRef) {
				t.Errorf("ParseRef(%q) = %v, %v: want ErrBadRef", in, got, err)
			} else if strings.ContainsAny(err.Error(), "\n\x1b\x00") {
				t.Errorf("error holds raw foreign bytes: %q", err)
			}
		})
	}
}

func FuzzParseRef(f *testing.F) {
	for _, s := range []string{"nginx", "reg.example:5000/a/b:c", "oci:/a:b", "sha256:0123456", "a@sha256:" + hex64, "file:///x", "./x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ref, err := ParseRef(s)
		if err != nil {
			return
		}
		again, err := ParseRef(ref.String())
		if err != nil || again != ref {
			t.Fatalf("%q gives %q, which gives %#v, %v", s, ref, again, err)
		}
		if name := escapeName(ref.String()); strings.Contains(name, "/") || name[0] == '.' || len(name) > 255 {
			t.Fatalf("%q has the file name %q", s, name)
		}
	})
}

// FuzzParseRegistry: names mean what they mean to the library that everybody else reads them with, where it takes them at all, and
// what it refuses is refused.
func FuzzParseRegistry(f *testing.F) {
	for _, s := range []string{
		"nginx", "reg.example:5000/a/b:c", "a@sha256:" + hex64, "localhost/a", "localhost:5000", "[::1]:5000/a", "Reg.Example/a:B", "a:-x@sha256:" + hex64,
		"index.docker.io/a", "docker.io/a/b", "a:", "a:5000/b", "a.b/", "/a", ".:/a", "a@", "[1:2]/a",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ref, err := parseRegistry(s)
		theirs, theirErr := name.ParseReference(lowerHost(s), name.WeakValidation)
		if err != nil {
			return // we refuse more
		}
		if theirErr != nil {
			t.Fatalf("%q is %v, and to others no name: %v", s, ref, theirErr)
		}
		host := strings.Replace(theirs.Context().RegistryStr(), "index.docker.io", "docker.io", 1)
		separator := ":"
		if strings.HasPrefix(theirs.Identifier(), "sha256:") {
			separator = "@"
		}
		if want := host + "/" + theirs.Context().RepositoryStr() + separator + theirs.Identifier(); ref.String() != want {
			t.Fatalf("%q is %v, and to others %s", s, ref, want)
		}
	})
}

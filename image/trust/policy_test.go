package trust

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/image"
)

// TestScope: a key reaches exactly the names that its prefix is, by whole components, the beginning of. (rkt's key store
// matched example.com/team to example.com/team-evil.)
func TestScope(t *testing.T) {
	const key = "0123456789012345678901234567890123456789"
	load := func(prefix string) *Policy {
		return mustLoad(t, config(t, "trustedkeys/prefix.d/"+prefix+"/"+key, "key"))
	}
	for _, tc := range []struct {
		prefix, name string
		want         Requirement
	}{
		{"example.com/team", "example.com/team", Signed},
		{"example.com/team", "example.com/team/app", Signed},
		{"example.com/team", "example.com/team/a/b/c", Signed},
		{"example.com/team", "example.com/team-evil", Digest},
		{"example.com/team", "example.com/team-evil/app", Digest},
		{"example.com/team", "example.com/team.evil", Digest},
		{"example.com/team", "example.com/team_evil", Digest},
		{"example.com/team", "example.com/team2", Digest},
		{"example.com/team", "example.com/tea", Digest},
		{"example.com/team", "example.com", Digest},
		{"example.com/team", "example.com/x/team", Digest},
		{"example.com/team", "evil.com/example.com/team", Digest},
		{"example.com/team", "sub.example.com/team", Digest},
		{"example.com/team", "example.com.evil/team", Digest},
		{"example.com/team", "example.com:5000/team", Digest},
		{"example.com/team", "example.com:443/team", Signed}, // the same server
		{"example.com/team", "example.com:0443/team", Reject},
		{"example.com/team", "example.com:/team", Reject},
		{"example.com/team", "example.com:65536/team", Reject},
		{"example.com/team", "example.com:80/team", Digest},
		{"example.com/team", "EXAMPLE.com/team", Reject},
		{"example.com/team", "example.com/Team", Reject},
		{"example.com/team", "example.com./team", Reject},
		{"example.com/team", "example..com/team", Reject},
		{"example.com/team", ".example.com/team", Reject},
		{"example.com/team", "exаmple.com/team", Reject}, // a Cyrillic а
		{"example.com/team", "xn--exmple-4nf.com/team", Digest},
		{"example.com/team", "example.com/team/", Reject},
		{"example.com/team", "example.com//team", Reject},
		{"example.com/team", "/example.com/team", Reject},
		{"example.com/team", "example.com/./team", Reject},
		{"example.com/team", "example.com/x/../team", Reject},
		{"example.com/team", "example.com/team/..", Reject},
		{"example.com/team", "example.com/te%61m", Reject},
		{"example.com/team", "example.com/team\x00", Reject},
		{"example.com/team", "example.com/team app", Reject},
		{"example.com/team", "user@example.com/team", Reject},
		{"example.com/team", "https://example.com/team", Reject},
		{"example.com", "example.com/team", Signed},
		{"example.com", "example.com", Signed},
		{"example.com", "example.co", Digest},
		{"example.com:5000", "example.com:5000/x", Signed},
		{"example.com:5000", "example.com/x", Digest},
		{"example.com:5000", "example.com:50001/x", Digest},
		{"docker.io/library", "docker.io/library/nginx", Signed},
		{"docker.io/library", "index.docker.io/library/nginx", Signed},
		{"docker.io/library", "registry-1.docker.io/library/nginx", Signed},
		{"[::1]:5000", "[::1]:5000/x", Signed},
		{"[::1]:5000", "[0:0::1]:5000/x", Signed},
		{"127.0.0.1", "127.0.0.1/x", Signed},
		{"127.0.0.1", "[::ffff:127.0.0.1]/x", Signed},
		{"127.0.0.1", "127.1/x", Reject},
		{"127.0.0.1", "0x7f.0.0.1/x", Reject},
		{"127.0.0.1", "0x7f000001/x", Reject},
		{"127.0.0.1", "127.000.0.1/x", Reject},
		{"127.0.0.1", "2130706433/x", Reject},
	} {
		if got := load(tc.prefix).For(tc.name); got.Require != tc.want {
			t.Errorf("key for %s, image %q: %s, want %s", tc.prefix, tc.name, got.Require, tc.want)
		}
	}
}

const (
	keyA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	keyB = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
)

// TestLongest: the longest prefix decides alone, rules and keys of several directories together.
func TestLongest(t *testing.T) {
	system := config(t,
		"trust.d/a.json", `{"kind":"trust","version":"v1","default":"reject","rules":[
			{"prefix":"a.example","require":"digest"},{"prefix":"a.example/prod","require":"signed"},
			{"prefix":"a.example/prod/open","require":"digest"},{"prefix":"b.example","require":"digest"}]}`,
		"trustedkeys/prefix.d/a.example/prod/"+keyA, "key", "trustedkeys/prefix.d/c.example/"+keyA, "key")
	local := config(t,
		"trust.d/z.json", `{"kind":"trust","version":"v1","rules":[{"prefix":"b.example","require":"reject"},{"prefix":"d.example","require":"signed"}]}`,
		"trustedkeys/prefix.d/a.example/prod/db/"+keyB, "key", "trustedkeys/prefix.d/c.example/"+keyA, "",
		"trustedkeys/prefix.d/a.example/closed/"+keyA, "key",
		"trust.d/ignored.txt", "no JSON", "trustedkeys/prefix.d/a.example/.tmp-1", "")
	p := mustLoad(t, system, "", local)
	type verdict struct {
		Require    Requirement
		Rule, Keys string
	}
	for name, want := range map[string]verdict{
		"":                      {Reject, "default", ""},
		"x.example/app":         {Reject, "default", ""},
		"a.example/app":         {Digest, "a.example", ""},
		"a.example/prod/app":    {Signed, "a.example/prod", keyA},
		"a.example/prod/db/x":   {Signed, "a.example/prod/db", keyB},
		"a.example/prod/open/x": {Digest, "a.example/prod/open", keyA}, // not asked
		"a.example/closed":      {Signed, "a.example/closed", keyA},
		"b.example/app":         {Reject, "b.example", ""},
		"c.example/app":         {Signed, "c.example", ""}, // masked: nobody can sign
		"d.example/app":         {Signed, "d.example", ""},
	} {
		d := p.For(name)
		got := verdict{Require: d.Require, Rule: d.Rule}
		if len(d.Keys) == 1 {
			got.Keys = filepath.Base(d.Keys[0])
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q:\n%s", name, diff)
		}
		refused := d.Refusal(name) != nil
		if want := got.Require == Reject || (got.Require == Signed && got.Keys == ""); refused != want {
			t.Errorf("%q: refused %v, want %v", name, refused, want)
		}
	}
	root := mustLoad(t, config(t, "trustedkeys/root.d/"+keyA, "key", "trust.d/a.json", `{"kind":"trust","version":"v1","default":"accept","rules":[{"prefix":"docker.io","require":"digest"}]}`))
	for name, want := range map[string]Requirement{"": Signed, "x.example": Signed, "docker.io/x": Digest} {
		if got := root.For(name); got.Require != want {
			t.Errorf("root key, %q: %s, want %s", name, got.Require, want)
		}
	}
	if d := (&Policy{}).For("x.example/app"); d.Require != Digest {
		t.Errorf("no policy: %+v", d)
	}
}

func TestLoadRefuses(t *testing.T) {
	rules := func(s string) []string {
		return []string{"trust.d/x.json", `{"kind":"trust","version":"v1",` + s + `}`}
	}
	for name, files := range map[string][]string{
		"kind":              {"trust.d/x.json", `{"kind":"paths","version":"v1"}`},
		"version":           {"trust.d/x.json", `{"kind":"trust","version":"v2"}`},
		"unknown field":     rules(`"rule":[]`),
		"misspelt in rule":  rules(`"rules":[{"prefix":"a.example","requires":"signed"}]`),
		"default":           rules(`"default":"deny"`),
		"requirement":       rules(`"rules":[{"prefix":"a.example","require":"sign"}]`),
		"no requirement":    rules(`"rules":[{"prefix":"a.example"}]`),
		"no prefix":         rules(`"rules":[{"require":"signed"}]`),
		"prefix with slash": rules(`"rules":[{"prefix":"a.example/","require":"signed"}]`),
		"upper case":        rules(`"rules":[{"prefix":"A.example","require":"signed"}]`),
		"wildcard":          rules(`"rules":[{"prefix":"*.example","require":"signed"}]`),
		"twice":             rules(`"rules":[{"prefix":"a.example","require":"signed"},{"prefix":"a.example:443","require":"digest"}]`),
		"field twice":       rules(`"default":"reject","default":"accept"`),
		"bytes after":       {"trust.d/x.json", `{"kind":"trust","version":"v1"}{}`},
		"two files":         append(rules(`"default":"reject"`), "trust.d/y.json", `{"kind":"trust","version":"v1","default":"accept"}`),
		"key's name":        {"trustedkeys/prefix.d/a.example/key.pub", "key"},
		"key without host":  {"trustedkeys/prefix.d/" + keyA, "key"},
		"prefix of root":    {"trustedkeys/root.d/a.example/" + keyA, "key"},
		"prefix never met":  {"trustedkeys/prefix.d/A.example/" + keyA, "key"},
		"prefix with 443":   {"trustedkeys/prefix.d/a.example:443/" + keyA, "key"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Load([]string{config(t, files...)}); !errors.Is(err, ErrConfig) {
				t.Errorf("got %v", err)
			}
		})
	}
	t.Run("FIFO", func(t *testing.T) {
		dir := config(t, "trust.d/a.txt", "")
		if err := unix.Mkfifo(filepath.Join(dir, "trust.d", "x.json"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load([]string{dir}); !errors.Is(err, ErrConfig) {
			t.Errorf("got %v", err)
		}
	})
}

// TestAddRemove: keys of the local directory are deleted, those of the distribution masked.
func TestAddRemove(t *testing.T) {
	system, local := t.TempDir(), t.TempDir()
	dirs := []string{system, local, ""}
	key := Key{Fingerprint: keyA, Data: []byte("key")}
	for _, dir := range []string{system, local} {
		if _, err := Add(dir, "a.example/x", key); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Add(local, "", key); err != nil {
		t.Fatal(err)
	}
	if got := mustLoad(t, dirs...).List(); len(got) != 2 || got[0].Prefix != "" || got[1].Prefix != "a.example/x" {
		t.Fatalf("list: %+v", got)
	}
	for _, prefix := range []string{"", "a.example/x"} {
		if err := Remove(dirs, prefix, key.Fingerprint); err != nil {
			t.Fatal(err)
		}
	}
	if got := mustLoad(t, dirs...).List(); len(got) != 1 || got[0].Path != "" {
		t.Errorf("after removal: %+v", got)
	}
	if err := Remove(dirs, "b.example", key.Fingerprint); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("key that is not there: %v", err)
	}
	if list, err := os.ReadDir(filepath.Join(local, "trustedkeys")); err != nil || len(list) != 1 {
		t.Errorf("left: %v, %v", list, err)
	}
}

// TestRecheck: what was verified once is asked again with the policy of now.
func TestRecheck(t *testing.T) {
	p := mustLoad(t, config(t, "trustedkeys/prefix.d/registry.example/"+keyA, "key", "trustedkeys/prefix.d/registry.example/"+keyB, ""))
	for name, tc := range map[string]struct {
		image    string
		evidence image.Evidence
		ok       bool
	}{
		"signed":           {"registry.example/team/app", image.Evidence{Format: "cosign-simple", Key: keyA, Time: time.Now()}, true},
		"not signed":       {"registry.example/team/app", image.Evidence{Rule: "default"}, false},
		"never asked":      {"registry.example/team/app", image.Evidence{}, false},
		"by a masked key":  {"registry.example/team/app", image.Evidence{Format: "cosign-bundle", Key: keyB}, false},
		"by a lost key":    {"registry.example/team/app", image.Evidence{Format: "cosign-bundle", Key: strings.Repeat("c", 40)}, false},
		"without a key":    {"registry.example/team/app", image.Evidence{Format: "cosign-bundle"}, false},
		"no rule":          {"other.example/x", image.Evidence{}, true},
		"ambiguous":        {"Registry.example/x", image.Evidence{Format: "cosign-simple", Key: keyA}, false},
		"local, no policy": {"", image.Evidence{}, true},
	} {
		if err := p.Recheck(tc.image, tc.evidence); (err == nil) != tc.ok || (err != nil && !errors.Is(err, ErrUntrusted)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzCanonical(f *testing.F) {
	for _, s := range []string{"a.example/b", "[::1]:5000/x", "docker.io", "a:443/b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name, err := canonical(s)
		if err != nil {
			return
		}
		if again, err := canonical(name); err != nil || again != name {
			t.Errorf("%q gives %q, which gives %q, %v", s, name, again, err)
		}
	})
}

// config makes a configuration directory with files: path, content, path, content...
func config(t testing.TB, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for i := 0; i < len(files); i += 2 {
		path := filepath.Join(dir, files[i])
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(files[i+1]), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func mustLoad(t testing.TB, dirs ...string) *Policy {
	t.Helper()
	p, err := Load(dirs)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

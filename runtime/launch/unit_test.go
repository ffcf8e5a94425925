package launch

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestParseStatus(t *testing.T) {
	tests := []struct {
		name, in string
		code     int
		want     string
	}{
		{"success", "", 0, ""},
		{"reason", "127 x: not found in $PATH\n", 127, "x: not found in $PATH"},
		{"lines in a name", "127 a\nb: not found\n", 127, "a\nb: not found"},
		{"no reason", "127\n", 0, `read status of gantry-init: unexpected "127\n"`},
		{"no code", "hello\n", 0, `read status of gantry-init: unexpected "hello\n"`},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			err := parseStatus(strings.NewReader(tc.in))
			var failed *execError
			code, text := 0, ""
			if errors.As(err, &failed) {
				code = failed.code
			}
			if err != nil {
				text = err.Error()
			}
			if code != tc.code || text != tc.want {
				t.Errorf("got %d and %q", code, text)
			}
		})
	}
}

func TestLookUp(t *testing.T) {
	tests := []struct {
		who  string
		want specs.User
		home string
		err  string
	}{
		{"0", specs.User{}, "/root", ""},
		{"root", specs.User{}, "/root", ""},
		{"web", specs.User{UID: 1000, GID: 1001, AdditionalGids: []uint32{77, 78}}, "/home/web", ""},
		{"1000", specs.User{UID: 1000, GID: 1001, AdditionalGids: []uint32{77, 78}}, "/home/web", ""},
		{"web:logs", specs.User{UID: 1000, GID: 77}, "/home/web", ""},
		{"1000:5", specs.User{UID: 1000, GID: 5}, "/home/web", ""},
		{"4242", specs.User{UID: 4242}, "/", ""}, // passwd has it as a name of root
		{"5:6", specs.User{UID: 5, GID: 6}, "/", ""},
		{"nobody", specs.User{}, "", `user "nobody": no such user or group in the app`},
		{"web:none", specs.User{}, "", `group "none": no such user or group in the app`},
		{"-1", specs.User{}, "", `user "-1": not between 0 and 4294967294`},
		{"4294967295", specs.User{}, "", `user "4294967295": not between 0 and 4294967294`},
		{"web:4294967296", specs.User{}, "", `group "4294967296": not between 0 and 4294967294`},
		{"4294967296", specs.User{}, "", `user "4294967296": not between 0 and 4294967294`},
		{"big", specs.User{}, "", `user "big": no such user or group in the app`},
		{"", specs.User{}, "", `user "": no such user or group in the app`},
	}
	dir := t.TempDir()
	write(t, dir, "passwd", "root:x:0:0::/root:/bin/sh\nweb:x:1000:1001::/home/web:/bin/sh\n4242:x:0:0::/:/bin/sh\nbig:x:4294967296:0::/:/bin/sh\n4294967296:x:0:0::/:\n")
	write(t, dir, "group", "root:x:0:\n4294967296:x:0:\nlogs:x:77:web\nmore:x:78:a,web\n")
	root, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for _, tc := range tests {
		t.Run(tc.who, func(t *testing.T) {
			got, home, err := lookUp(tc.who, root)
			text := ""
			if err != nil {
				text = err.Error()
			}
			if text != tc.err {
				t.Fatalf("got error %q, want %q", text, tc.err)
			}
			if diff := cmp.Diff(tc.want, got); err == nil && (diff != "" || home != tc.home) {
				t.Errorf("at home in %s: %s", home, diff)
			}
		})
	}
	t.Run("link out of the root", func(t *testing.T) {
		outside := t.TempDir()
		write(t, outside, "passwd", "evil:x:0:0::/:\n")
		if err := os.Remove(dir + "/etc/passwd"); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(outside+"/etc/passwd", dir+"/etc/passwd"); err != nil {
			t.Fatal(err)
		}
		if _, _, err := lookUp("evil", root); err == nil {
			t.Error("an account outside the root was found")
		}
	})
}

func write(t *testing.T, dir, name, data string) {
	t.Helper()
	path := filepath.Join(dir, "etc", name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
		t.Fatal(err)
	}
}

func FuzzDecodeFilter(f *testing.F) {
	source := []byte("profile")
	good := (&filter{program: make([]byte, 3*instruction), flags: 4}).encode(source)
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add(good[instruction:])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		if got := decodeFilter(data, source); got != nil && !bytes.Equal(got.encode(source), data) {
			t.Errorf("%q is taken for a filter", data)
		}
	})
}

func TestSetEnv(t *testing.T) {
	got := setEnv([]string{"A=1", "AB=2", "A=3"}, "A=4")
	if diff := cmp.Diff([]string{"AB=2", "A=4"}, got); diff != "" {
		t.Error(diff)
	}
}

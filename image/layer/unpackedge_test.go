package layer

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What Unpack refuses, and that its error names the file.
func TestUnpackErrors(t *testing.T) {
	needRoot(t)
	s, err := scanAll(t, archive(t, file("a/b/f", strings.Repeat("x", 2000)), hardlink("g", "a/b/f")))
	if err != nil {
		t.Fatal(err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	base := t.TempDir()
	at := func(name string) string { return filepath.Join(base, name) }
	for _, name := range []string{"full", "real", "ok", "cancelled", "cut"} {
		if err := os.Mkdir(at(name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.WriteFile(at("full/x"), nil, 0o600), os.Symlink("real", at("link"))); err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		name string
		ctx  context.Context
		tars []*os.File
		want string
	}{
		{"full", t.Context(), s.tars, "is there already"},
		{"link", t.Context(), s.tars, "not a directory"},
		{"missing", t.Context(), s.tars, "no such file"},
		{"ok", t.Context(), nil, "1 layers, 0 tars"},
		{"cancelled", cancelled, s.tars, "context canceled"},
	}
	for _, c := range cases {
		if err := s.tree.Unpack(c.ctx, at(c.name), c.tars); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", c.name, err, c.want)
		}
	}
	if err := os.Truncate(s.names[0], 1024); err != nil {
		t.Fatal(err)
	}
	err = s.tree.Unpack(t.Context(), at("cut"), s.tars)
	if !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), `"a/b/f"`) {
		t.Errorf("a tar that was cut off: %v", err)
	}
}

// Between file systems the kernel does not copy: the bytes go through memory.
func TestCopyThroughMemory(t *testing.T) {
	base := t.TempDir()
	body := strings.Repeat("0123456789", 300_000)
	if err := os.WriteFile(filepath.Join(base, "from"), []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}
	from, err := os.Open(filepath.Join(base, "from"))
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	to, err := os.OpenFile(filepath.Join(base, "to"), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	if err := copyThroughMemory(int(to.Fd()), 7, from, 3, 2_500_000); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(to.Name()); err != nil || string(got) != strings.Repeat("\x00", 7)+body[3:2_500_003] {
		t.Errorf("%d other bytes, %v", len(got), err)
	}
	if err := copyThroughMemory(int(to.Fd()), 0, from, 0, 4_000_000); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("copied more than there is: %v", err)
	}
}

// The deepest path that there can be: 2,047 directories and a file, which no path from the host's root can name.
func TestDeepest(t *testing.T) {
	path := strings.Repeat("d/", 2047) + "f"
	s, err := scanAll(t, archive(t, file(path, "deep"), hardlink("h", path), hardlink(strings.Repeat("d/", 2047)+"g", "h")))
	if err != nil {
		t.Fatal(err)
	}
	for _, where := range []string{s.mount(t), s.unpack(t)} {
		dir, err := os.OpenRoot(where)
		if err != nil {
			t.Fatal(err)
		}
		for range 2047 {
			next, err := dir.OpenRoot("d")
			if err != nil {
				t.Fatal(err)
			}
			dir.Close()
			dir = next
		}
		for _, name := range []string{"f", "g"} {
			if b, err := dir.ReadFile(name); err != nil || string(b) != "deep" {
				t.Errorf("%s: %q, %v", where, b, err)
			}
		}
		dir.Close()
	}
}

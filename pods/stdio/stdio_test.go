package stdio

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestLook(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	open := func(path string) *os.File {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		f    *os.File
		want Kind
	}{
		{"pipe, read", r, Anonymous},
		{"pipe, written", w, Anonymous},
		{"socket", os.NewFile(uintptr(pair[0]), "socket"), Anonymous},
		{"null", open("/dev/null"), Anonymous},
		{"another device", open("/dev/zero"), Named},
		{"fifo", open(fifo), Named},
		{"file", open(file), Named},
		{"terminal", open("/dev/ptmx"), Terminal},
	} {
		kind, owner, err := Look(c.f)
		if err != nil || kind != c.want {
			t.Errorf("%s: %v, %v; want %v", c.name, kind, err, c.want)
		}
		if c.name == "file" && owner != os.Getuid() {
			t.Errorf("%s: owner %d", c.name, owner)
		}
		if Same(c.f, r) != (c.f == r || c.f == w) {
			t.Errorf("%s: the same as the pipe: %v", c.name, Same(c.f, r))
		}
	}
	_ = unix.Close(pair[1])
	gone, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	_ = gone.Close()
	if kind, _, err := Look(gone); err == nil || kind != Named {
		t.Errorf("closed: %v, %v; want an error", kind, err)
	}
}

package erofs

import (
	"bytes"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// What a mapping shows behind the end of a file is zero (POSIX), and not the tar's padding or next header.
func TestMappingBehindEnd(t *testing.T) {
	tar := bytes.Repeat([]byte{'!'}, 4096)
	f, g := regular(1, 0, 7), regular(1, 512, 520)
	f.Dirty, g.Dirty = true, true
	index, devices := write(t, newDir(Dirent{"f", f}, Dirent{"g", g}), tar)
	root := mount(t, index, devices)
	for name, size := range map[string]int{"f": 7, "g": 520} {
		f, err := os.Open(root + name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		page, err := unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ, unix.MAP_SHARED)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Munmap(page)
		if got := page[:size]; !bytes.Equal(got, tar[:size]) {
			t.Errorf("%s: a mapping shows %q", name, got)
		}
		if rest := page[size:]; !bytes.Equal(rest, make([]byte, len(rest))) {
			t.Errorf("%s: behind its end, a mapping shows %q", name, bytes.Trim(rest, "\x00"))
		}
	}
}

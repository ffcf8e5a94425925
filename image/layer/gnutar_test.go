package layer

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/image/erofs"
	"github.com/gantryrun/gantry/tests/craft"
)

// sources makes a directory with what GNU tar is to archive: names, sparse files, xattrs, links, devices.
func sources(t *testing.T) string {
	t.Helper()
	needRoot(t)
	if _, err := exec.LookPath("tar"); err != nil {
		t.Skip("GNU tar is not installed: nothing to compare with")
	}
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	deep := "d/" + strings.Repeat(strings.Repeat("e", 120)+"/", 5)
	must(os.MkdirAll(at(deep), 0o755))
	must(os.WriteFile(at(deep+strings.Repeat("f", 200)), []byte("deep"), 0o640))
	must(os.Chown(at(deep), 70_000, 3_000_000))
	must(os.Link(at(deep+strings.Repeat("f", 200)), at("hard")))
	must(os.Symlink(strings.Repeat("t", 300), at("soft")))
	must(unix.Mknod(at("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	must(unix.Mkfifo(at("fifo"), 0o600))
	must(os.WriteFile(at("xattr"), []byte("x"), 0o755))
	must(unix.Setxattr(at("xattr"), "user.empty", nil, 0))
	must(unix.Setxattr(at("xattr"), "user.binary", []byte("a\x00\n\xff"), 0))
	must(unix.Setxattr(at("xattr"), "security.capability", []byte("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), 0))
	sparse := func(name string, size int64, at ...int64) {
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
		must(err)
		defer f.Close()
		must(f.Truncate(size))
		for _, off := range at {
			_, err := f.WriteAt(bytes.Repeat([]byte{byte(off>>12) | 1}, 4096), off)
			must(err)
		}
	}
	sparse("holes", 8<<20, 0, 4096, 1<<20, 5<<20+8192)
	sparse("all-hole", 2<<20)
	sparse("odd", 1<<20+77, 1<<19)
	sparse("tail", 3<<20+100, 3<<20-4096+100)
	many := make([]int64, 60) // more segments than one extended header holds
	for k := range many {
		many[k] = int64(k) * 16384
	}
	sparse("many", 60*16384, many...)
	must(os.WriteFile(at("empty"), nil, 0o600))
	return dir
}

// Archives that GNU tar writes, in all of its formats, are unpacked by it and by gantry.
func TestAgainstGNUTar(t *testing.T) {
	dir := sources(t)
	for _, f := range []struct {
		name string
		args []string
	}{
		{"gnu", []string{"--format=gnu"}},
		{"gnu sparse", []string{"--format=gnu", "--sparse"}},
		{"oldgnu sparse", []string{"--format=oldgnu", "--sparse"}},
		{"pax", []string{"--format=pax", "--xattrs"}},
		{"pax sparse 0.0", []string{"--format=pax", "--xattrs", "--sparse", "--sparse-version=0.0"}},
		{"pax sparse 0.1", []string{"--format=pax", "--xattrs", "--sparse", "--sparse-version=0.1"}},
		{"pax sparse 1.0", []string{"--format=pax", "--xattrs", "--sparse", "--sparse-version=1.0"}},
		{"pax sparse, in records of 1 MiB", []string{"--format=pax", "--xattrs", "--sparse", "--blocking-factor=2048"}},
	} {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			base := t.TempDir()
			name := filepath.Join(base, "tar")
			out, err := exec.Command("tar", append([]string{"-C", dir, "-cf", name, "--numeric-owner", "."}, f.args...)...).CombinedOutput()
			if err != nil {
				t.Fatalf("tar: %v: %s", err, out)
			}
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			s, err := scanAll(t, b)
			if err != nil {
				t.Fatal(err)
			}
			ours := s.everyWay(t)
			root := filepath.Join(base, "root")
			if err := os.Mkdir(root, 0o755); err != nil {
				t.Fatal(err)
			}
			out, err = exec.Command("tar", "-C", root, "-xpf", name, "--same-owner", "--numeric-owner", "--xattrs", "--xattrs-include=*").CombinedOutput()
			if err != nil {
				t.Fatalf("tar: %v: %s", err, out)
			}
			sameAs(t, "GNU tar", ours, listDir(t, root))
			if strings.Contains(f.name, "sparse") {
				keepsHoles(t, filepath.Join(s.dir, "fs", "holes"))
			}
		})
	}
}

// keepsHoles checks that an unpacked file of 8 MiB with 16 KiB of data is still sparse.
func keepsHoles(t *testing.T, name string) {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(name, &st); err != nil {
		t.Fatal(err)
	}
	if st.Blocks*512 > 1<<20 {
		t.Errorf("%s takes %d KiB", name, st.Blocks/2)
	}
}

// Segments that do not begin or end on blocks: the index must hold such data itself.
func TestSparseSegmentsOfAnySize(t *testing.T) {
	cases := map[string]struct {
		size     int64
		segments []int64 // offset, length
	}{
		"odd everything":              {3000, []int64{1, 2, 600, 513, 2999, 1}},
		"odd length in the middle":    {1 << 20, []int64{0, 100, 4096, 4096, 65536, 1}},
		"data out of step":            {1 << 20, []int64{0, 700, 4096, 4096, 8192, 300, 1 << 19, 4096}},
		"one block of a terabyte":     {1 << 40, []int64{1 << 39, 512}},
		"first byte of a gigabyte":    {1 << 30, []int64{0, 1}},
		"last byte of a gigabyte":     {1 << 30, []int64{1<<30 - 1, 1}},
		"no segment":                  {1 << 33, nil},
		"aligned, then a partial one": {1<<20 + 77, []int64{1 << 19, 1 << 18, 1 << 20, 77}},
		"touching":                    {2000, []int64{0, 1000, 1000, 1000}},
		"ends in a hole of one byte":  {1025, []int64{0, 512, 512, 512}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var data, numbers []string
			for k := 0; k < len(c.segments); k += 2 {
				numbers = append(numbers, fmt.Sprint(c.segments[k]), fmt.Sprint(c.segments[k+1]))
				data = append(data, strings.Repeat(string(rune('a'+k)), int(c.segments[k+1])))
			}
			stored := strings.Join(data, "")
			// What pads the data is not zero: it must not show in a hole.
			body := append([]byte(stored), bytes.Repeat([]byte{'!'}, -len(stored)&511)...)
			if numbers == nil {
				numbers = []string{fmt.Sprint(c.size), "0"}
			}
			count := fmt.Sprintf("GNU.sparse.numblocks=%d", len(numbers)/2)
			b := craft.Raw(
				craft.PAX('x', count, "GNU.sparse.major=0", "GNU.sparse.minor=1", "GNU.sparse.name=sparse", fmt.Sprintf("GNU.sparse.size=%d", c.size),
					"GNU.sparse.map="+strings.Join(numbers, ",")),
				craft.Block{Name: "GNUSparseFile.1/sparse", Size: fmt.Sprintf("%011o\x00", len(stored))}.Bytes(), body,
				craft.Block{Name: "next", Size: "00000000003\x00"}.Bytes(), craft.Padded("abc"),
			)
			s, err := scanAll(t, b)
			if err != nil {
				t.Fatal(err)
			}
			if c.size > 1<<24 {
				s.sameEnds(t, "sparse")
				return
			}
			s.everyWay(t)
		})
	}
}

// sameEnds compares what can be read of a large file in a second: around its segments.
func (s *store) sameEnds(t *testing.T, name string) {
	t.Helper()
	top := s.tree.Root.Entries
	i := top[slices.IndexFunc(top, func(e erofs.Dirent) bool { return e.Name == name })].Inode
	want, err := i.Open(s.readers())
	if err != nil {
		t.Fatal(err)
	}
	mounted, err := os.Open(s.mount(t) + name)
	if err != nil {
		t.Fatal(err)
	}
	defer mounted.Close()
	unpacked, err := os.Open(filepath.Join(s.unpack(t), name))
	if err != nil {
		t.Fatal(err)
	}
	defer unpacked.Close()
	m := s.image(t)
	root, err := m.ReadDir(m.Root())
	if err != nil {
		t.Fatal(err)
	}
	ours, err := m.OpenNid(root[slices.IndexFunc(root, func(e erofs.Entry) bool { return e.Name == name })].Nid)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int64{0, i.Size/2 - 4096, i.Size / 2, i.Size/2 + 512, i.Size - 4096} {
		a := make([]byte, 4096)
		if _, err := want.ReadAt(a, at); err != nil {
			t.Fatal(err)
		}
		b, c, d := make([]byte, 4096), make([]byte, 4096), make([]byte, 4096)
		_, err1 := mounted.ReadAt(b, at)
		_, err2 := unpacked.ReadAt(c, at)
		_, err3 := ours.ReadAt(d, at)
		if err1 != nil || err2 != nil || err3 != nil || !bytes.Equal(a, b) || !bytes.Equal(a, c) || !bytes.Equal(a, d) {
			t.Errorf("bytes at %d differ: %v %v %v", at, err1, err2, err3)
		}
	}
}

// A tar that ends before the padding of its last file: the kernel would read a whole block there.
func TestNoPadding(t *testing.T) {
	for _, size := range []int{1, 511, 512, 513, 5000, 100_000} {
		body := strings.Repeat("x", size)
		b := archive(t, file("first", "1"), file("last", body))
		end := bytes.LastIndexByte(b, 'x') + 1
		s, err := scanAll(t, b[:end])
		if err != nil {
			t.Fatal(err)
		}
		if all := s.everyWay(t); all["last"].Size != int64(size) {
			t.Errorf("last file has %d bytes, not %d", all["last"].Size, size)
		}
	}
}

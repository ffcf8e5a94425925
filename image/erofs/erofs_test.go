package erofs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// top reads an inode of the root directory.
func top(t *testing.T, m *Image, name string) (uint64, *Inode) {
	t.Helper()
	entries, err := m.ReadDir(m.Root())
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(entries, func(e Entry) bool { return e.Name == name })
	if at < 0 {
		t.Fatalf("no %s in the root", name)
	}
	i, err := m.Inode(entries[at].Nid)
	if err != nil {
		t.Fatal(err)
	}
	return entries[at].Nid, i
}

func newDir(entries ...Dirent) *Inode {
	slices.SortFunc(entries, func(a, b Dirent) int { return strings.Compare(a.Name, b.Name) })
	d := &Inode{Mode: ModeDir | 0o755, Nlink: 2, Entries: entries, Sec: 1, Nsec: 2}
	for _, e := range entries {
		if e.Inode.IsDir() {
			d.Nlink++
		}
	}
	return d
}

func link(target string) *Inode { return &Inode{Mode: ModeSymlink | 0o777, Nlink: 1, Target: target} }

func regular(device int, offset, size int64) *Inode {
	return &Inode{Mode: ModeRegular | 0o644, Nlink: 1, Device: device, Offset: offset, Size: size}
}

// write writes an index over devices with the given contents, and returns the names of the files.
func write(t testing.TB, root *Inode, contents ...[]byte) (index string, devices []string) {
	t.Helper()
	dir := t.TempDir()
	var list []Device
	for k, b := range contents {
		name := filepath.Join(dir, fmt.Sprint("device-", k))
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		list, devices = append(list, Device{Size: int64(len(b)), Data: bytes.NewReader(b)}), append(devices, name)
	}
	index = filepath.Join(dir, "index")
	f, err := os.OpenFile(index, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := Write(f, root, list); err != nil {
		t.Fatal(err)
	}
	return index, devices
}

func mount(t testing.TB, index string, devices []string) string {
	t.Helper()
	fd, err := Mount(index, devices, MountOptions{})
	if errors.Is(err, ErrNotSupported) || errors.Is(err, unix.EPERM) {
		t.Skipf("no EROFS from files here: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fmt.Sprintf("/proc/self/fd/%d/", fd)
}

func open(t testing.TB, index string) *Image {
	t.Helper()
	b, err := os.ReadFile(index)
	if err != nil {
		t.Fatal(err)
	}
	m, err := Open(bytes.NewReader(b), nil)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// Directories of every size around the edges of blocks: inline, whole blocks, both.
func TestDirectorySizes(t *testing.T) {
	names := func(n, length int) []string {
		var all []string
		for k := range n {
			name := fmt.Sprintf("%s%04d", []string{"!", ".", "..", "-", "x"}[k%5], k)
			all = append(all, name+strings.Repeat("n", max(0, length-len(name))))
		}
		slices.Sort(all)
		return all
	}
	fifo := &Inode{Mode: ModeFifo | 0o600}
	want := map[string][]string{}
	var dirs []Dirent
	for n := range 60 {
		for _, length := range []int{1, 20, 33, 255} {
			name := fmt.Sprintf("d-%d-%d", n, length)
			want[name] = names(n, length)
			var entries []Dirent
			for _, e := range want[name] {
				entries = append(entries, Dirent{e, fifo})
				fifo.Nlink++
			}
			dirs = append(dirs, Dirent{name, newDir(entries...)})
		}
	}
	index, _ := write(t, newDir(dirs...))
	m := open(t, index)
	root := mount(t, index, nil)
	for name, names := range want {
		nid, _ := top(t, m, name)
		entries, err := m.ReadDir(nid)
		if err != nil {
			t.Fatal(err)
		}
		var ours []string
		for _, e := range entries {
			ours = append(ours, e.Name)
		}
		if !slices.Equal(ours, names) {
			t.Errorf("%s: our reader has %q", name, ours)
		}
		kernel, err := os.ReadDir(root + name)
		if err != nil || len(kernel) != len(names) {
			t.Errorf("%s: the kernel has %d names, not %d: %v", name, len(kernel), len(names), err)
		}
		for _, n := range names {
			if _, err := os.Lstat(root + name + "/" + n); err != nil {
				t.Error(err)
			}
		}
	}
}

// Links of every length, with and without xattrs, so that the inline tail meets every place in a block.
func TestLinkSizes(t *testing.T) {
	var entries []Dirent
	for n := 1; n <= 4095; n++ {
		if n > 600 && n%97 != 0 && n < 4090 {
			continue
		}
		i := link(strings.Repeat("t", n))
		if n%3 == 0 {
			i.Xattrs = []Xattr{{"trusted.x", strings.Repeat("v", n)}}
		}
		entries = append(entries, Dirent{fmt.Sprintf("%04d", n), i})
	}
	index, _ := write(t, newDir(entries...))
	m := open(t, index)
	root := mount(t, index, nil)
	for _, e := range entries {
		_, i := top(t, m, e.Name)
		if i.Target != e.Inode.Target || !slices.Equal(i.Xattrs, e.Inode.Xattrs) {
			t.Errorf("%s: our reader has a link of %d bytes", e.Name, len(i.Target))
		}
		if got, err := os.Readlink(root + e.Name); err != nil || got != e.Inode.Target {
			t.Errorf("%s: the kernel has a link of %d bytes: %v", e.Name, len(got), err)
		}
		value := make([]byte, 5000)
		n, err := unix.Lgetxattr(root+e.Name, "trusted.x", value)
		if e.Inode.Xattrs != nil && (err != nil || string(value[:n]) != e.Inode.Xattrs[0].Value) {
			t.Errorf("%s: the kernel has an xattr of %d bytes: %v", e.Name, n, err)
		}
	}
}

// The largest xattrs that fit.
func TestLargeXattrs(t *testing.T) {
	i := &Inode{Mode: ModeRegular | 0o644, Nlink: 1}
	for k := range 3 {
		i.Xattrs = append(i.Xattrs, Xattr{fmt.Sprint("user.", k), strings.Repeat(fmt.Sprint(k), 65535)})
	}
	index, _ := write(t, newDir(Dirent{"f", i}, Dirent{"g", i}))
	i.Nlink = 2
	if _, got := top(t, open(t, index), "f"); !slices.Equal(got.Xattrs, i.Xattrs) {
		t.Error("our reader has other xattrs")
	}
	value := make([]byte, 1<<16)
	root := mount(t, index, nil)
	for _, x := range i.Xattrs {
		if n, err := unix.Getxattr(root+"f", x.Name, value); err != nil || string(value[:n]) != x.Value {
			t.Errorf("the kernel has %s of %d bytes: %v", x.Name, n, err)
		}
	}
}

// Files on several devices, whose sizes are not whole blocks.
func TestDevices(t *testing.T) {
	contents := [][]byte{[]byte("short"), nil, bytes.Repeat([]byte("0123456789abcdef"), 1000), bytes.Repeat([]byte("x"), 5000)}
	sparse := regular(4, 0, 9000)
	sparse.Sparse = []Segment{{0, 4096}, {8096, 904}}
	root := newDir(
		Dirent{"a", regular(1, 0, 5)},
		Dirent{"b", regular(3, 512, 15488)},
		Dirent{"c", regular(3, 1024, 1)},
		Dirent{"empty", regular(0, 0, 0)},
		Dirent{"sparse", sparse},
	)
	index, devices := write(t, root, contents...)
	mnt := mount(t, index, devices)
	f, err := os.Open(index)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var readers []io.ReaderAt
	for _, b := range contents {
		readers = append(readers, bytes.NewReader(b))
	}
	m, err := Open(f, readers)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]byte{"a": contents[0], "b": contents[2][512:16000], "c": contents[2][1024:1025], "empty": {},
		"sparse": slices.Concat(contents[3][:4096], make([]byte, 4000), contents[3][4096:])} {
		nid, _ := top(t, m, name)
		at := slices.IndexFunc(root.Entries, func(e Dirent) bool { return e.Name == name })
		for who, open := range map[string]func() (*io.SectionReader, error){
			"our reader": func() (*io.SectionReader, error) { return m.OpenNid(nid) },
			"the tree":   func() (*io.SectionReader, error) { return root.Entries[at].Inode.Open(readers) },
		} {
			r, err := open()
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: %s has %d bytes: %v", name, who, len(got), err)
			}
		}
		if got, err := os.ReadFile(mnt + name); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: the kernel has %d bytes: %v", name, len(got), err)
		}
	}
	if _, err := Open(f, readers[:2]); err == nil {
		t.Error("opened with a device too few")
	}
}

func TestWriteRefuses(t *testing.T) {
	shared := newDir()
	sparse := regular(1, 0, 100)
	sparse.Sparse = []Segment{{50, 60}}
	cases := map[string]*Inode{
		"root is not a directory":         regular(0, 0, 0),
		"name with a slash":               newDir(Dirent{"a/b", link("x")}),
		"name with NUL":                   newDir(Dirent{"a\x00", link("x")}),
		"dots":                            newDir(Dirent{"..", link("x")}),
		"empty name":                      newDir(Dirent{"", link("x")}),
		"name of 256 bytes":               newDir(Dirent{strings.Repeat("n", 256), link("x")}),
		"unsorted":                        {Mode: ModeDir, Entries: []Dirent{{"b", link("x")}, {"a", link("x")}}},
		"twice":                           newDir(Dirent{"a", link("x")}, Dirent{"a", link("x")}),
		"directory of two names":          newDir(Dirent{"a", shared}, Dirent{"b", shared}),
		"data outside of its device":      newDir(Dirent{"f", regular(1, 512, 600)}),
		"data on no device":               newDir(Dirent{"f", regular(2, 0, 1)}),
		"data between blocks":             newDir(Dirent{"f", regular(1, 100, 1)}),
		"negative size":                   newDir(Dirent{"f", regular(1, 0, -1)}),
		"segment outside of its file":     newDir(Dirent{"f", sparse}),
		"xattr of an unknown namespace":   newDir(Dirent{"f", &Inode{Mode: ModeFifo, Xattrs: []Xattr{{"system.x", ""}}}}),
		"xattr of 64 KiB":                 newDir(Dirent{"f", &Inode{Mode: ModeFifo, Xattrs: []Xattr{{"user.x", strings.Repeat("v", 65536)}}}}),
		"xattrs beyond what an inode has": newDir(Dirent{"f", &Inode{Mode: ModeFifo, Xattrs: slices.Repeat([]Xattr{{"user.x", strings.Repeat("v", 60000)}}, 5)}}),
	}
	for name, root := range cases {
		t.Run(name, func(t *testing.T) {
			f, err := os.OpenFile(filepath.Join(t.TempDir(), "index"), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if err := Write(f, root, []Device{{Size: 1024}}); err == nil {
				t.Error("written")
			}
		})
	}
}

// Equal trees give equal bytes, also when the inodes have been in another index before.
func TestDeterministic(t *testing.T) {
	make := func() *Inode {
		f := regular(1, 0, 3)
		f.Nlink = 2
		return newDir(Dirent{"a", f}, Dirent{"b", newDir(Dirent{"c", f})})
	}
	root := make()
	one, _ := write(t, root, []byte("abc"))
	two, _ := write(t, make(), []byte("abc"))
	write(t, newDir(Dirent{"x", link("y")}, Dirent{"z", root}), []byte("abc"))
	three, _ := write(t, root, []byte("abc"))
	a, _ := os.ReadFile(one)
	for _, other := range []string{two, three} {
		if b, err := os.ReadFile(other); err != nil || !bytes.Equal(a, b) {
			t.Errorf("other bytes, %v", err)
		}
	}
}

// A damaged index gives errors, never a panic, an endless loop or a large allocation.
func FuzzOpen(f *testing.F) {
	sparse := regular(1, 0, 1<<20)
	sparse.Sparse = []Segment{{0, 512}, {65536, 512}}
	tagged := newDir(Dirent{"s", link("f")})
	tagged.Xattrs = []Xattr{{"user.a", "b"}}
	index, _ := write(f, newDir(Dirent{"f", regular(1, 512, 5)}, Dirent{"sparse", sparse}, Dirent{"d", tagged}, Dirent{"c", &Inode{Mode: ModeChar, Rdev: 259, Nlink: 1}}), make([]byte, 2048))
	b, err := os.ReadFile(index)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < superOffset+BlockSize {
			return
		}
		b = bytes.Clone(b)
		sum := superChecksum(b[superOffset:])
		b[superOffset+4], b[superOffset+5], b[superOffset+6], b[superOffset+7] = byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24)
		m, err := Open(bytes.NewReader(b), nil)
		if err != nil {
			return
		}
		m.devices = []io.ReaderAt{bytes.NewReader(make([]byte, 2048))}
		nids := []uint64{m.Root()}
		for n := 0; n < len(nids) && n < 50; n++ {
			i, err := m.Inode(nids[n])
			if err != nil {
				continue
			}
			if i.IsDir() {
				entries, _ := m.ReadDir(nids[n])
				for _, e := range entries {
					nids = append(nids, e.Nid)
				}
			} else if r, err := m.OpenNid(nids[n]); err == nil {
				_, _ = io.CopyN(io.Discard, r, 1<<16)
			}
		}
	})
}

package layer

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gantryrun/gantry/image/erofs"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// status is everything about a file that the backends must agree on.
type status struct {
	Mode, UID, GID, Nlink uint32
	Sec                   int64
	Nsec                  uint32
	Rdev                  uint32
	Size                  int64
	Content               string // digest
	Target                string
	Xattrs                string
	Same                  string // first path of the same inode
}

// listing is a tree by path; "" is the root.
type listing map[string]status

// listDir lists a directory of the host with lstat(2).
func listDir(t testing.TB, root string) listing {
	t.Helper()
	all := listing{}
	first := map[uint64]string{}
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		name := strings.TrimPrefix(strings.TrimPrefix(path, root), "/")
		s := status{Mode: st.Mode, UID: st.Uid, GID: st.Gid, Nlink: uint32(st.Nlink), Sec: st.Mtim.Sec, Nsec: uint32(st.Mtim.Nsec)}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			s.Size = st.Size
			f, err := os.Open(path)
			if err != nil {
				return err
			}
			defer f.Close()
			s.Content = digest(t, f)
		case unix.S_IFLNK:
			s.Target, err = os.Readlink(path)
			if err != nil {
				return err
			}
		case unix.S_IFCHR, unix.S_IFBLK:
			s.Rdev = erofs.Mkdev(unix.Major(st.Rdev), unix.Minor(st.Rdev))
		}
		s.Xattrs = hostXattrs(t, path)
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			if _, ok := first[st.Ino]; !ok {
				first[st.Ino] = name
			}
			s.Same = first[st.Ino]
		}
		all[name] = s
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func digest(t testing.TB, r io.Reader) string {
	t.Helper()
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:8])
}

func hostXattrs(t testing.TB, path string) string {
	t.Helper()
	buf := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, buf)
	if err != nil {
		if errors.Is(err, unix.ENOTSUP) {
			return ""
		}
		t.Fatalf("listxattr %q: %v", path, err)
	}
	var all []erofs.Xattr
	for name := range strings.SplitSeq(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00") {
		if name == "" {
			continue
		}
		value := make([]byte, 64<<10)
		k, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			t.Fatalf("getxattr %q %q: %v", path, name, err)
		}
		all = append(all, erofs.Xattr{Name: name, Value: string(value[:k])})
	}
	return showXattrs(all)
}

func showXattrs(all []erofs.Xattr) string {
	var b strings.Builder
	for _, x := range sortXattrs(slices.Clone(all)) {
		fmt.Fprintf(&b, "%s=%q ", x.Name, x.Value)
	}
	return b.String()
}

// listTree lists a tree in memory, its files read from the tars.
func listTree(t testing.TB, tree *Tree, tars []io.ReaderAt) listing {
	t.Helper()
	l := lister{t: t, all: listing{}, first: map[any]string{}}
	var walk func(path string, i *erofs.Inode)
	walk = func(path string, i *erofs.Inode) {
		r, err := i.Open(tars)
		l.add(path, i, i, r, err)
		for _, e := range i.Entries {
			walk(strings.TrimPrefix(path+"/"+e.Name, "/"), e.Inode)
		}
	}
	walk("", tree.Root)
	return l.all
}

// listImage lists an index through our own reader.
func listImage(t testing.TB, m *erofs.Image) listing {
	t.Helper()
	l := lister{t: t, all: listing{}, first: map[any]string{}}
	var walk func(path string, nid uint64)
	walk = func(path string, nid uint64) {
		i, err := m.Inode(nid)
		if err != nil {
			t.Fatal(err)
		}
		r, err := m.OpenNid(nid)
		l.add(path, i, nid, r, err)
		if !i.IsDir() {
			return
		}
		entries, err := m.ReadDir(nid)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			walk(strings.TrimPrefix(path+"/"+e.Name, "/"), e.Nid)
		}
	}
	walk("", m.Root())
	return l.all
}

type lister struct {
	t     testing.TB
	all   listing
	first map[any]string
}

func (l *lister) add(path string, i *erofs.Inode, id any, content io.Reader, err error) {
	l.t.Helper()
	s := status{
		Mode: i.Mode, UID: i.UID, GID: i.GID, Nlink: i.Nlink, Sec: i.Sec, Nsec: i.Nsec, Rdev: i.Rdev,
		Size: i.Size, Target: i.Target, Xattrs: showXattrs(i.Xattrs),
	}
	if i.IsRegular() {
		if err != nil {
			l.t.Fatalf("open %q: %v", path, err)
		}
		s.Content = digest(l.t, content)
	}
	if i.IsSymlink() {
		s.Mode |= 0o777 // the kernel shows no other
	}
	if !i.IsDir() {
		if _, ok := l.first[id]; !ok {
			l.first[id] = path
		}
		s.Same = l.first[id]
	}
	l.all[path] = s
}

// store is a directory with the tars of an image, and what Scan made of them after a way through Encode and Decode.
type store struct {
	dir    string
	tars   []*os.File
	names  []string
	layers []*Layer
	tree   *Tree
}

// scanAll gives an error only for layers that Scan or Merge refuse.
func scanAll(t testing.TB, tars ...[]byte) (*store, error) {
	t.Helper()
	s := &store{dir: t.TempDir()}
	for k, b := range tars {
		l, err := Scan(bytes.NewReader(b), Limits{})
		if err != nil {
			return nil, fmt.Errorf("scan layer %d: %w", k+1, err)
		}
		if l.Size != int64(len(b)) {
			t.Fatalf("layer %d has %d bytes, Scan saw %d", k+1, len(b), l.Size)
		}
		s.layers = append(s.layers, recode(t, l))
		name := filepath.Join(s.dir, fmt.Sprintf("%d.tar", k+1))
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		s.names, s.tars = append(s.names, name), append(s.tars, f)
	}
	tree, err := Merge(s.layers)
	s.tree = tree
	return s, err
}

// recode encodes and decodes, which must change nothing.
func recode(t testing.TB, l *Layer) *Layer {
	t.Helper()
	var b bytes.Buffer
	if err := l.Encode(&b); err != nil {
		t.Fatal(err)
	}
	back, err := Decode(&b)
	if err != nil {
		t.Fatal(err)
	}
	opts := cmp.AllowUnexported(entry{}, extra{})
	before, after := slices.Collect(l.entries.all()), slices.Collect(back.entries.all())
	if len(before) != len(after) || l.Size != back.Size || !slices.Equal(l.Warnings, back.Warnings) {
		t.Fatalf("%d entries, decoded as %d", len(before), len(after))
	}
	for k := 0; k < len(before); k += 1 + len(before)/1000 {
		if diff := cmp.Diff(before[k], after[k], opts); diff != "" {
			t.Fatalf("entry %d decoded otherwise (-before +after):\n%s", k, diff)
		}
	}
	return back
}

func (s *store) readers() []io.ReaderAt {
	var all []io.ReaderAt
	for _, f := range s.tars {
		all = append(all, f)
	}
	return all
}

// index writes the index and returns its name.
func (s *store) index(t testing.TB) string {
	t.Helper()
	name := filepath.Join(s.dir, "index")
	f, err := os.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var devices []TarDevice
	for k, tar := range s.tars {
		devices = append(devices, TarDevice{Size: s.layers[k].Size, Data: tar})
	}
	if err := s.tree.WriteErofs(f, devices); err != nil {
		t.Fatal(err)
	}
	return name
}

// mount mounts the index and returns a path to it. The mount is attached nowhere: it is gone with its descriptor.
func (s *store) mount(t testing.TB) string {
	t.Helper()
	fd, err := erofs.Mount(s.index(t), s.names, erofs.MountOptions{})
	if errors.Is(err, erofs.ErrNotSupported) || errors.Is(err, unix.EPERM) {
		t.Skipf("no EROFS from files here: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fmt.Sprintf("/proc/self/fd/%d/", fd)
}

func (s *store) image(t testing.TB) *erofs.Image {
	t.Helper()
	f, err := os.Open(s.index(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	m, err := erofs.Open(f, s.readers())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: owners and devices are made")
	}
}

func (s *store) unpack(t testing.TB) string {
	t.Helper()
	needRoot(t)
	dir := filepath.Join(s.dir, "fs")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := s.tree.Unpack(t.Context(), dir, s.tars); err != nil {
		t.Fatal(err)
	}
	if err := s.tree.Check(t.Context(), dir, s.tars); err != nil {
		t.Errorf("unpacked, and then %v", err)
	}
	return dir
}

// everyWay lists a tree in all five ways, which must agree, and returns what they agree on.
func (s *store) everyWay(t *testing.T) listing {
	t.Helper()
	want := listTree(t, s.tree, s.readers())
	for _, way := range []struct {
		name string
		got  listing
	}{
		{"index through our reader", listImage(t, s.image(t))},
		{"index through the kernel", listDir(t, s.mount(t))},
		{"index through go-erofs", listByOthers(t, s)},
		{"unpacked", listDir(t, s.unpack(t))},
	} {
		if diff := cmp.Diff(want, way.got); diff != "" {
			t.Errorf("%s (-tree +%s):\n%s", way.name, way.name, diff)
		}
	}
	return want
}

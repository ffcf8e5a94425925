package layer

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/gantryrun/gantry/image/erofs"
	"github.com/gantryrun/gantry/tests/craft"
)

var fuzzLimits = Limits{MaxEntries: 1000, MaxSegments: 1000, MaxNames: 1 << 20, MaxPAX: 1 << 16}

func seeds(t testing.TB) [][]byte {
	return [][]byte{
		nil,
		craft.Raw(),
		archive(t, dir("d", 0o755), file("d/f", "hello"), symlink("s", "d"), hardlink("h", "d/f"), hide(".wh.x"), hide("d/.wh..wh..opq"), fifo("p")),
		archive(t, file(strings.Repeat("long/", 60)+"f", "x").xattr("user.a", "b").owner(1<<22, 3)),
		craft.Raw(craft.Extension('L', strings.Repeat("g/", 80)+"\x00"), craft.Extension('K', "k\x00"), craft.Block{Type: '2'}.Bytes()),
		craft.Raw(craft.PAX('g', "comment=x"), craft.PAX('x', "path=p", "mtime=-1.5", "uid=5", "size=3"), craft.Block{}.Bytes(), craft.Padded("abc")),
		craft.Raw(craft.PAX('x', "GNU.sparse.name=s", "GNU.sparse.size=1000", "GNU.sparse.numblocks=2", "GNU.sparse.map=0,3,900,3"), craft.Block{Size: "00000000006\x00"}.Bytes(), craft.Padded("abcdef")),
		craft.Raw(craft.PAX('x', "GNU.sparse.size=1000", "GNU.sparse.numblocks=1", "GNU.sparse.offset=0", "GNU.sparse.numbytes=3"), craft.Block{Size: "00000000003\x00"}.Bytes(), craft.Padded("abc")),
		craft.Raw(craft.PAX('x', "GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.name=s", "GNU.sparse.realsize=1000"), craft.Block{Size: "00000001003\x00"}.Bytes(), craft.Padded("1\n10\n3\n"), craft.Padded("abc")),
		craft.Raw(craft.Sum(func() []byte {
			b := craft.Block{Name: "s", Type: 'S', Magic: "ustar  \x00", Size: "00000000003\x00"}.Bytes()
			clear(b[345:500])
			copy(b[386:], "00000000012\x0000000000003\x00")
			copy(b[483:], "00000000100\x00")
			return b
		}()), craft.Padded("abc")),
		craft.Raw(craft.Block{Type: '3', Major: "0000001\x00", Minor: "\x80\x00\x00\x00\x00\x00\x10\x00"}.Bytes()),
	}
}

// Scan never panics, keeps to its limits, and sees what archive/tar sees in everything that both take: offset, size and attributes
// of each entry. What it refuses is its own matter.
func FuzzScan(f *testing.F) {
	for _, s := range seeds(f) {
		f.Add(s)
	}
	for _, tar := range craft.RefusedAlone() {
		f.Add(tar.Layers[0])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		b = repair(b)
		l, err := Scan(bytes.NewReader(b), fuzzLimits)
		if err != nil {
			if !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrLimit) && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatalf("unexpected error %v", err)
			}
			return
		}
		if l.Size != int64(len(b)) {
			t.Fatalf("read %d of %d bytes", l.Size, len(b))
		}
		recode(t, l)
		compareEntries(t, l, b)
		if tree, err := Merge([]*Layer{l, l}); err == nil {
			checkTree(t, tree)
		}
	})
}

// repair makes the checksums of headers right: otherwise hardly any change would get past them.
func repair(b []byte) []byte {
	b = bytes.Clone(b)
	for at := 0; at+blockSize <= len(b); at += blockSize {
		if blk := b[at : at+blockSize]; string(blk[fieldMagic:fieldMagic+5]) == "ustar" {
			craft.Sum(blk)
		}
	}
	return b
}

// compareEntries reads the tar again with archive/tar.
func compareEntries(t *testing.T, l *Layer, b []byte) {
	t.Helper()
	r := tar.NewReader(bytes.NewReader(b))
	entries := slices.Collect(l.entries.all())
	k := 0
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return // it looks at fields that do not matter for the type, such as the device number of a file
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		path, err := cleanPath(h.Name)
		if err != nil {
			t.Fatalf("name %q: %v", h.Name, err)
		}
		switch m, _, _ := whiteout(path); m {
		case markAufs:
			continue
		case markWhiteout, markOpaque:
			k++
			continue
		}
		if k >= len(entries) {
			t.Fatalf("archive/tar sees %q, Scan does not", h.Name)
		}
		e := entries[k]
		k++
		if e.kind == kindWhiteout && e.path == path {
			continue // a device 0:0, or a link to one
		}
		compareEntry(t, e, h, path)
		if e.kind == kindRegular {
			compareContent(t, e, r, b)
		}
	}
	if k != len(entries) {
		t.Fatalf("archive/tar sees %d entries, Scan %d", k, len(entries))
	}
}

func compareEntry(t *testing.T, e *entry, h *tar.Header, path string) {
	t.Helper()
	if e.path != path {
		t.Fatalf("path %q, archive/tar has %q", e.path, path)
	}
	if e.kind == kindHardlink {
		link, _ := cleanPath(h.Linkname)
		if e.link != link {
			t.Fatalf("link %q, archive/tar has %q", e.link, link)
		}
		return
	}
	sec, nsec := h.ModTime.Unix(), uint32(h.ModTime.Nanosecond())
	clamped := e.sec == minTime || e.sec == maxTime
	if int(e.uid) != h.Uid || int(e.gid) != h.Gid || int64(e.perm) != h.Mode&0o7777 || !clamped && (e.sec != sec || e.nsec != nsec) {
		t.Fatalf("%+v, archive/tar has %+v", e, h)
	}
	switch e.kind {
	case kindSymlink:
		if e.link != h.Linkname {
			t.Fatalf("target %q, archive/tar has %q", e.link, h.Linkname)
		}
	case kindRegular:
		if e.size != h.Size {
			t.Fatalf("size %d, archive/tar has %d", e.size, h.Size)
		}
	case kindChar, kindBlock:
		if int64(erofs.Major(e.rdev)) != h.Devmajor || int64(erofs.Minor(e.rdev)) != h.Devminor {
			t.Fatalf("device %#x, archive/tar has %d:%d", e.rdev, h.Devmajor, h.Devminor)
		}
	}
}

func compareContent(t *testing.T, e *entry, r io.Reader, b []byte) {
	t.Helper()
	if e.size > 1<<20 {
		return
	}
	want, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("archive/tar reads %q: %v", e.path, err)
	}
	m := merger{layer: 1}
	got, err := m.newInode(e).Open([]io.ReaderAt{bytes.NewReader(b)})
	if err != nil {
		t.Fatal(err)
	}
	have, err := io.ReadAll(got)
	if err != nil || !bytes.Equal(have, want) {
		t.Fatalf("content of %q is %q, archive/tar has %q: %v", e.path, have, want, err)
	}
}

// checkTree checks what the writer of indexes and Unpack rely on.
func checkTree(t *testing.T, tree *Tree) {
	t.Helper()
	names := int64(0)
	links := map[*erofs.Inode]uint32{}
	var walk func(i *erofs.Inode, length int)
	walk = func(i *erofs.Inode, length int) {
		if length > maxPath+1 {
			t.Fatal("a path is too long")
		}
		last := ""
		for _, e := range i.Entries {
			if !isClean(e.Name) || strings.Contains(e.Name, "/") || e.Name <= last {
				t.Fatalf("name %q behind %q", e.Name, last)
			}
			last = e.Name
			names++
			links[e.Inode]++
			if e.Inode.IsDir() && links[e.Inode] > 1 {
				t.Fatalf("directory %q has two names", e.Name)
			}
			walk(e.Inode, length+1+len(e.Name))
		}
	}
	walk(tree.Root, 0)
	for i, n := range links {
		if !i.IsDir() && i.Nlink != n {
			t.Fatalf("inode with %d names says %d", n, i.Nlink)
		}
	}
	if names != tree.Names || int64(len(links))+1 != tree.Inodes {
		t.Fatalf("%d names of %d inodes, the tree says %d and %d", names, len(links)+1, tree.Names, tree.Inodes)
	}
}

// Decode never panics, whatever the checksum lets through, and what it takes is a layer that Merge can rely on.
func FuzzDecode(f *testing.F) {
	for _, s := range seeds(f) {
		l, err := Scan(bytes.NewReader(s), Limits{})
		if err != nil {
			f.Fatal(err)
		}
		var b bytes.Buffer
		if err := l.Encode(&b); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes()[len(indexMagic) : b.Len()-4])
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		d := &decoder{rest: body}
		l := d.layer()
		if d.err != nil {
			return
		}
		for e := range l.entries.all() {
			if e.path != "" && !isClean(e.path) || e.kind >= kindEnd || e.size < 0 || e.offset < 0 || e.offset%blockSize != 0 {
				t.Fatalf("decoded %+v", e)
			}
		}
		if tree, err := Merge([]*Layer{l}); err == nil {
			checkTree(t, tree)
		}
		d.rest = nil
		recode(t, l)
	})
}

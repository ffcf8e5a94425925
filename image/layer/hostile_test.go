package layer

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

// Layers that must be refused, with what the error has to say.
func TestRefused(t *testing.T) {
	dev := func(major, minor string) []byte {
		return raw(block{name: "d", typeflag: '3', major: major, minor: minor}.bytes())
	}
	x := func(records ...string) []byte { return raw(paxBlocks('x', records...), block{}.bytes()) }
	g := func(record string) []byte { return raw(paxBlocks('g', record), block{}.bytes()) }
	sparse := func(records ...string) []byte {
		return raw(paxBlocks('x', append([]string{"GNU.sparse.name=s", "GNU.sparse.size=1000", "GNU.sparse.numblocks=1"}, records...)...), block{size: "00000000012\x00"}.bytes(), padded("0123456789"))
	}
	name := func(n string) []byte { return raw(paxBlocks('x', "path="+n), block{}.bytes()) }
	cases := []struct {
		name string
		tar  []byte
		want string
	}{
		{"checksum", raw(append(block{}.bytes()[:511], 'x')), "checksum"},
		{"lone zero block", append(make([]byte, 512), block{}.bytes()...), "lone zero block"},
		{"no name", raw(block{name: "\x00"}.bytes()), "no name"},
		{"component of 256 bytes", name(strings.Repeat("n", 256)), "longer than 255"},
		{"component of 256 bytes that needs cleaning", name("./a//" + strings.Repeat("n", 256)), "longer than 255"},
		{"path beyond PATH_MAX", name(strings.Repeat("d/", 2500) + "f"), "longer than 4095"},
		{"NUL in a PAX path", name("a\x00b"), "contains NUL"},
		{"NUL in a PAX key", x("pa\x00th=a"), "PAX record with key"},
		{"PAX record without =", x("path"), "PAX record with key"},
		{"PAX record without a key", x("=v"), "PAX record with key"},
		{"PAX length too long", raw(longBlocks('x', "99 path=a\n"), block{}.bytes()), "PAX record of length"},
		{"PAX length too short", raw(longBlocks('x', "3 a=b\n"), block{}.bytes()), "PAX record"},
		{"PAX length zero", raw(longBlocks('x', "0 a=b\n"), block{}.bytes()), "PAX record"},
		{"PAX length missing", raw(longBlocks('x', " a=b\n"), block{}.bytes()), "without a length"},
		{"PAX size is text", x("size=1k"), "size is"},
		{"PAX uid with a sign", x("uid=+1"), "uid is"},
		{"PAX size negative", x("size=-1"), "size -1"},
		{"PAX size beyond int64", x("size=9223372036854775808"), "size is"},
		{"PAX mtime is text", x("mtime=1.5e3"), "mtime is"},
		{"PAX mtime beyond int64", x("mtime=99999999999999999999"), "mtime is"},
		{"two PAX headers", raw(paxBlocks('x', "path=a"), paxBlocks('x', "path=b"), block{}.bytes()), "two PAX headers"},
		{"GNU and PAX name", raw(longBlocks('L', "a\x00"), paxBlocks('x', "path=b"), block{}.bytes()), "different names"},
		{"PAX header and the end", raw(paxBlocks('x', "path=a")), "behind an extension"},
		{"PAX header and end of file", paxBlocks('x', "path=a"), "behind an extension"},
		{"long name and the end", raw(longBlocks('L', "a\x00")), "behind an extension"},
		{"global path", g("path=etc/passwd"), "global"},
		{"global size", g("size=10"), "global"},
		{"global uid", g("uid=0"), "global"},
		{"global xattr", g("SCHILY.xattr.user.a=b"), "global"},
		{"uid 2^32-1", raw(block{uid: "\x80\x00\x00\x00\xff\xff\xff\xff"}.bytes()), "owner 4294967295"},
		{"uid 2^32", x("uid=4294967296"), "owner 4294967296"},
		{"gid 2^32-1", x("gid=4294967295"), "owner"},
		{"uid negative", raw(block{uid: "\xff\xff\xff\xff\xff\xff\xff\xff"}.bytes()), "owner -1"},
		{"uid beyond int64", raw(block{size: "\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"}.bytes()), "size is"},
		{"size negative", raw(block{size: "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"}.bytes()), "is -1"},
		{"size of digits 8", raw(block{size: "00000000008\x00"}.bytes()), "size is"},
		{"mode negative", raw(block{mode: "\xff\xff\xff\xff\xff\xff\xff\xff"}.bytes()), "mode -1"},
		{"size of a symlink", raw(block{typeflag: '2', link: "x", size: "00000001000\x00"}.bytes(), padded("")), "its type cannot have"},
		{"size of a device", raw(block{typeflag: '3', size: "00000001000\x00"}.bytes()), "its type cannot have"},
		{"size of a FIFO", raw(block{typeflag: '6', size: "00000001000\x00"}.bytes()), "its type cannot have"},
		{"size of a directory of old", raw(block{name: "d/", typeflag: 'z', size: "00000001000\x00"}.bytes()), "type"},
		{"vendor type", raw(block{typeflag: 'D'}.bytes()), "type 'D'"},
		{"volume label", raw(block{typeflag: 'V'}.bytes()), "type 'V'"},
		{"major 4096", dev("0010000\x00", ""), "device number 4096"},
		{"minor 2^20", dev("", "4000000\x00"), "device number 0:1048576"},
		{"major beyond 2^32", dev("\x80\x00\x00\x01\x00\x00\x00\x01", ""), "device number"},
		{"symlink to nothing", raw(block{typeflag: '2'}.bytes()), "symbolic link"},
		{"symlink beyond PATH_MAX", raw(paxBlocks('x', "linkpath="+strings.Repeat("x", 4096)), block{typeflag: '2'}.bytes()), "symbolic link"},
		{"hard link to nothing", raw(block{typeflag: '1'}.bytes()), "hard link"},
		{"hard link to the root", raw(block{typeflag: '1', link: ".."}.bytes()), "hard link"},
		{"root is a file", raw(block{name: "./"}.bytes()), "root is not a directory"},
		{"root is a symlink", raw(block{name: "a/..", typeflag: '2', link: "/etc"}.bytes()), "root is not a directory"},
		{"root is a hard link", raw(block{name: "/", typeflag: '1', link: "a"}.bytes()), "root is not a directory"},
		{"whiteout of nothing", raw(block{name: "d/.wh."}.bytes()), "names no file"},
		{"whiteout of its directory", raw(block{name: "d/.wh.."}.bytes()), "names no file"},
		{"whiteout of the parent", raw(block{name: "d/.wh..."}.bytes()), "names no file"},
		{"below a whiteout", raw(block{name: ".wh.d/f"}.bytes()), "below a whiteout"},
		{"sparse segment outside", sparse("GNU.sparse.map=995,10"), "segment"},
		{"sparse segment negative", sparse("GNU.sparse.map=-1,10"), "segment"},
		{"sparse segments overlap", sparse("GNU.sparse.numblocks=2", "GNU.sparse.map=0,5,4,5"), "overlap"},
		{"sparse segments backwards", sparse("GNU.sparse.numblocks=2", "GNU.sparse.map=10,5,0,5"), "overlap"},
		{"sparse map odd", sparse("GNU.sparse.map=10,5,0"), "map of 3 numbers"},
		{"sparse map of another count", sparse("GNU.sparse.numblocks=3", "GNU.sparse.map=0,10"), "says"},
		{"sparse map stores less", sparse("GNU.sparse.map=0,9"), "its map says 9"},
		{"sparse map stores more", sparse("GNU.sparse.map=0,11"), "its map says 11"},
		{"sparse map without a count", sparse("GNU.sparse.numblocks=", "GNU.sparse.map=0,10"), "says"},
		{"sparse pairs out of order", sparse("GNU.sparse.numbytes=10", "GNU.sparse.offset=0"), "out of order"},
		{"sparse format 2.0", sparse("GNU.sparse.major=2", "GNU.sparse.minor=0"), "format"},
		{"sparse map in data does not end", raw(paxBlocks('x', "GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.realsize=9"), block{size: "00000001000\x00"}.bytes(), padded(strings.Repeat("1", 512))), "does not end"},
		{"sparse map in data is text", raw(paxBlocks('x', "GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.realsize=9"), block{size: "00000001000\x00"}.bytes(), padded("x\n")), "has a line"},
		{"sparse without size", raw(paxBlocks('x', "GNU.sparse.map=0,1", "GNU.sparse.numblocks=1"), block{}.bytes()), "size of sparse file"},
		{"old sparse outside of GNU", raw(block{typeflag: 'S'}.bytes()), "outside of the GNU format"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := Scan(bytes.NewReader(c.tar), Limits{})
			if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an invalid layer: %s", err, c.want)
			}
		})
	}
}

// Layers that Scan cannot judge alone: Merge must refuse them.
func TestRefusedByMerge(t *testing.T) {
	cases := []struct {
		name   string
		layers [][]member
		want   string
	}{
		{"hard link before its target", [][]member{{hardlink("h", "f"), file("f", "x")}}, "is missing"},
		{"hard link to what is gone", [][]member{{file("f", "x")}, {hide(".wh.f"), hardlink("h", "f")}}, "is missing"},
		{"hard link to a directory", [][]member{{dir("d", 0o755), hardlink("h", "d")}}, "is a directory"},
		{"hard link out of the root", [][]member{{hardlink("h", "../../../../etc/passwd")}}, "is missing"},
		{"hard link through a symlink out of the root", [][]member{{symlink("s", "/etc"), hardlink("h", "s/passwd")}}, "is missing"},
		{"hard link over its own directory", [][]member{{file("d/f", "x"), hardlink("d", "d/f")}}, "replaces its target"},
		{"hard link to itself", [][]member{{file("f", "x"), hardlink("./f", "f")}}, "replaces its target"},
		{"hard link to itself through a symlink", [][]member{{file("d/f", "x"), symlink("s", "d"), hardlink("s/f", "d/f")}}, "replaces its target"},
		{"parent is a file", [][]member{{file("f", "x"), file("f/g", "x")}}, "not a directory"},
		{"parent is a file of a lower layer", [][]member{{file("f", "x")}, {file("f/g", "x")}}, "not a directory"},
		{"parent is a device", [][]member{{special(tar.TypeChar, "c", 1, 3), file("c/g", "x")}}, "not a directory"},
		{"parent is a link to a file", [][]member{{file("f", "x"), symlink("s", "f"), file("s/g", "x")}}, "not a directory"},
		{"parent is a link to itself", [][]member{{symlink("s", "s"), file("s/g", "x")}}, "symbolic links"},
		{"parents link to each other", [][]member{{symlink("a", "b/x"), symlink("b", "a/x"), file("a/g", "x")}}, "symbolic links"},
		{"too deep through links", [][]member{
			{dir(strings.Repeat("d/", 2000), 0o755), symlink("s", strings.Repeat("d/", 2000))},
			{file("s/"+strings.Repeat("e/", 100)+"f", "x")},
		}, "longer than 4095"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var tars [][]byte
			for _, members := range c.layers {
				tars = append(tars, archive(t, members...))
			}
			_, err := scanAll(t, tars...)
			if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an invalid layer: %s", err, c.want)
			}
		})
	}
}

// What is taken although it looks strange, and what becomes of it.
func TestTaken(t *testing.T) {
	find := func(t *testing.T, tree *Tree, path string) status {
		t.Helper()
		return listTree(t, tree, []io.ReaderAt{nil})[path]
	}
	cases := []struct {
		name string
		tar  []byte
		path string
		want status
	}{
		{"empty file is an empty layer", nil, "", status{Mode: 0o40755, Nlink: 2}},
		{"end mark alone", raw(), "", status{Mode: 0o40755, Nlink: 2}},
		{"no end mark", block{typeflag: '6'}.bytes(), "f", status{Mode: 0o10644, Nlink: 1, Sec: 0o14524770400, Same: "f"}},
		{"half an end mark", append(block{typeflag: '6'}.bytes(), make([]byte, 512)...), "f", status{Mode: 0o10644, Nlink: 1, Sec: 0o14524770400, Same: "f"}},
		{"a second archive is not read", append(raw(block{name: "a", typeflag: '6'}.bytes()), raw(block{name: "b", typeflag: '6'}.bytes())...), "b", status{}},
		{"time far in the future", raw(paxBlocks('x', "mtime=4611686018427387904"), block{typeflag: '6'}.bytes()), "f", status{Mode: 0o10644, Nlink: 1, Sec: maxTime, Same: "f"}},
		{"time far in the past", raw(paxBlocks('x', "mtime=-4611686018427387904"), block{typeflag: '6'}.bytes()), "f", status{Mode: 0o10644, Nlink: 1, Sec: minTime, Same: "f"}},
		{"time before 1970", raw(paxBlocks('x', "mtime=-1.25"), block{typeflag: '6'}.bytes()), "f", status{Mode: 0o10644, Nlink: 1, Sec: -2, Nsec: 750_000_000, Same: "f"}},
		{"time in base 256", raw(block{typeflag: '6', mtime: "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe"}.bytes()), "f", status{Mode: 0o10644, Nlink: 1, Sec: -2, Same: "f"}},
		{"finer than nanoseconds", raw(paxBlocks('x', "mtime=1.0000000019"), block{typeflag: '6'}.bytes()), "f", status{Mode: 0o10644, Nlink: 1, Sec: 1, Nsec: 1, Same: "f"}},
		{"uid in base 256", raw(block{typeflag: '6', uid: "\x80\x00\x00\x00\xff\xff\xff\xfe"}.bytes()), "f", status{Mode: 0o10644, Nlink: 1, UID: 1<<32 - 2, Sec: 0o14524770400, Same: "f"}},
		{"type bits in the mode", raw(block{typeflag: '6', mode: "0104755\x00"}.bytes()), "f", status{Mode: 0o14755, Nlink: 1, Sec: 0o14524770400, Same: "f"}},
		{"comment for all", raw(paxBlocks('g', "comment=0123"), block{typeflag: '6'}.bytes()), "f", status{Mode: 0o10644, Nlink: 1, Sec: 0o14524770400, Same: "f"}},
		{"directory of old", raw(withType(block{name: "d/"}.bytes(), 0)), "d", status{Mode: 0o40644, Nlink: 2, Sec: 0o14524770400}},
		{"directory with a quota", raw(block{name: "d", typeflag: '5', size: "00000001000\x00"}.bytes()), "d", status{Mode: 0o40644, Nlink: 2, Sec: 0o14524770400}},
		{"prefix of a header", raw(block{name: "f", prefix: "a/b", typeflag: '6'}.bytes()), "a/b/f", status{Mode: 0o10644, Nlink: 1, Sec: 0o14524770400, Same: "a/b/f"}},
		{"prefix in a GNU header, as old Go wrote it", raw(block{name: "f", prefix: "a/b", typeflag: '6', magic: "ustar  \x00"}.bytes()), "a/b/f", status{Mode: 0o10644, Nlink: 1, Sec: 0o14524770400, Same: "a/b/f"}},
		{"times in a GNU header", raw(block{name: "f", prefix: "14524770400\x0014524770400\x00", typeflag: '6', magic: "ustar  \x00"}.bytes()), "f", status{Mode: 0o10644, Nlink: 1, Sec: 0o14524770400, Same: "f"}},
		{"whiteout far up", raw(block{name: "../../../.wh.etc"}.bytes()), "", status{Mode: 0o40755, Nlink: 2}},
		{"overlayfs's whiteout", raw(block{name: "a", typeflag: '3'}.bytes(), block{name: "b", typeflag: '1', link: "./a"}.bytes(), block{name: "c", typeflag: '1', link: "b"}.bytes()), "", status{Mode: 0o40755, Nlink: 2}},
		{"overlayfs's whiteout, replaced", raw(block{name: "a", typeflag: '3'}.bytes(), block{name: "a", typeflag: '6'}.bytes(), block{name: "b", typeflag: '1', link: "a"}.bytes()), "b", status{Mode: 0o10644, Nlink: 2, Sec: 0o14524770400, Same: "a"}},
		{"file of aufs", raw(block{name: ".wh..wh.plnk/1.2"}.bytes(), block{name: ".wh..wh.aufs"}.bytes()), "", status{Mode: 0o40755, Nlink: 2}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s, err := scanAll(t, c.tar)
			if err != nil {
				t.Fatal(err)
			}
			if got := find(t, s.tree, c.path); got != c.want {
				t.Errorf("%q is %+v, want %+v", c.path, got, c.want)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	many := archive(t, file("a", ""), file("b", ""), file("c", ""))
	holes := raw(paxBlocks('x', "GNU.sparse.name=s", "GNU.sparse.size=1125899906842624", "GNU.sparse.numblocks=2", "GNU.sparse.map=0,1,10,1"), block{size: "00000000002\x00"}.bytes(), padded("ab"))
	cases := []struct {
		name string
		tar  []byte
		lim  Limits
		want string
	}{
		{"entries", many, Limits{MaxEntries: 2}, "MaxEntries (2)"},
		{"names", archive(t, file(strings.Repeat("n", 200), "")), Limits{MaxNames: 100}, "MaxNames (100)"},
		{"xattrs count as names", archive(t, file("f", "").xattr("user.a", strings.Repeat("n", 200))), Limits{MaxNames: 100}, "MaxNames (100)"},
		{"a PAX header of a gigabyte", block{typeflag: 'x', size: "10000000000\x00"}.bytes(), Limits{}, "MaxPAX is 1048576"},
		{"a long name of a gigabyte", block{typeflag: 'L', size: "10000000000\x00"}.bytes(), Limits{}, "MaxPAX is 1048576"},
		{"a global header of a gigabyte", block{typeflag: 'g', size: "10000000000\x00"}.bytes(), Limits{}, "MaxPAX is 1048576"},
		{"a sparse petabyte", holes, Limits{}, "MaxFileSize is 1099511627776"},
		{"segments", holes, Limits{MaxSegments: 1}, "MaxSegments (1)"},
		{"xattrs", archive(t, file("f", "").xattr("user.a", strings.Repeat("v", 60_000)).xattr("user.b", strings.Repeat("v", 60_000)).xattr("user.c", strings.Repeat("v", 60_000))), Limits{}, "xattrs of more than"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := Scan(bytes.NewReader(c.tar), c.lim)
			if !errors.Is(err, ErrLimit) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want a limit: %s", err, c.want)
			}
		})
	}
}

// A tar that is cut off anywhere is an error, except where a whole entry ends.
func TestCutOff(t *testing.T) {
	whole := archive(t, file(strings.Repeat("long/", 60)+"f", strings.Repeat("x", 700)), symlink("s", "t"))
	for n := 1; n < len(whole); n += 37 {
		_, err := Scan(bytes.NewReader(whole[:n]), Limits{})
		// Behind the data's last byte its padding may be missing.
		padding := n >= 1536+700 && n < 2560
		if n%512 != 0 && !padding && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut off at %d: %v", n, err)
		}
	}
}

// The reader's own errors come through, and it may hand out as little as it likes.
func TestReader(t *testing.T) {
	whole := archive(t, file("f", strings.Repeat("x", 5000)), dir("d", 0o755))
	broken := errors.New("line is down")
	if _, err := Scan(io.MultiReader(bytes.NewReader(whole[:2000]), errorReader{broken}), Limits{}); !errors.Is(err, broken) {
		t.Errorf("got %v, want the reader's error", err)
	}
	cut := fmt.Errorf("blob is cut off: %w", io.EOF)
	for _, n := range []int{0, 512, 2000, len(whole)} {
		if _, err := Scan(io.MultiReader(bytes.NewReader(whole[:n]), errorReader{cut}), Limits{}); !errors.Is(err, cut) {
			t.Errorf("got %v behind byte %d, want the reader's error", err, n)
		}
	}
	l, err := Scan(&dribble{whole}, Limits{})
	if err != nil || l.Entries() != 2 || l.Size != int64(len(whole)) {
		t.Errorf("read byte by byte: %+v, %v", l, err)
	}
}

// An error that comes with the last bytes, and only then, is not lost.
func TestErrorWithData(t *testing.T) {
	wrong := errors.New("wrong digest")
	if _, err := Scan(&lastWord{archive(t, file("f", "x")), wrong}, Limits{}); !errors.Is(err, wrong) {
		t.Errorf("got %v, want the reader's error", err)
	}
}

type lastWord struct {
	rest []byte
	err  error
}

func (l *lastWord) Read(p []byte) (int, error) {
	n := copy(p, l.rest)
	l.rest = l.rest[n:]
	if n > 0 && len(l.rest) == 0 {
		return n, l.err
	}
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

type errorReader struct{ err error }

func (r errorReader) Read([]byte) (int, error) { return 0, r.err }

type dribble struct{ rest []byte }

func (d *dribble) Read(p []byte) (int, error) {
	if len(d.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:1], d.rest)
	d.rest = d.rest[n:]
	return n, nil
}

func TestXattrs(t *testing.T) {
	capability := "\x01\x00\x00\x02" + strings.Repeat("\x00", 16)
	b := archive(t,
		file("f", "").xattr("user.ok", "1").xattr("user.overlay.redirect", "/etc").xattr("trusted.overlay.redirect", "/etc").
			xattr("trusted.overlay.metacopy", "").xattr("security.ima", "x").xattr("security.selinux", "y").xattr("system.posix_acl_access", "z").
			xattr("security.capability", capability).xattr("user.", "x").xattr("user."+strings.Repeat("n", 255), "x"),
		file("g", "").xattr("security.capability", capability[:12]).xattr("user.big", strings.Repeat("v", 1<<16)),
		dir("d", 0o755).xattr("trusted.overlay.opaque", "y").xattr("security.capability", capability).xattr("user.ok", "2"),
		symlink("s", "t").xattr("user.not", "1"),
	)
	s, err := scanAll(t, b)
	if err != nil {
		t.Fatal(err)
	}
	all := s.everyWay(t)
	for path, want := range map[string]string{
		"f": fmt.Sprintf("security.capability=%q user.ok=\"1\" ", capability), "g": "", "d": `user.ok="2" `, "s": "",
	} {
		if got := all[path].Xattrs; got != want {
			t.Errorf("%q has %s, want %s", path, got, want)
		}
	}
	for _, name := range []string{"user.overlay.redirect", "trusted.overlay.redirect", "security.selinux", "user.big", "trusted.overlay.opaque"} {
		if !strings.Contains(fmt.Sprint(s.layers[0].Warnings), name) {
			t.Errorf("no warning says that %s was dropped: %v", name, s.layers[0].Warnings)
		}
	}
}

// Warnings are counted and bounded, whatever an archive says.
func TestWarnings(t *testing.T) {
	var members []member
	for k := range 100 {
		members = append(members, file(fmt.Sprint(k), "").xattr("security.selinux", "x").xattr(fmt.Sprintf("trusted.%d", k), "x"))
	}
	l, err := Scan(bytes.NewReader(archive(t, members...)), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, w := range l.Warnings {
		total += w.Count
	}
	if len(l.Warnings) != maxWarnings || total != 200 {
		t.Errorf("%d warnings about %d xattrs", len(l.Warnings), total)
	}
}

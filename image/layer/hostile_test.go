package layer

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/gantryrun/gantry/tests/craft"
)

// Layers that must be refused, with what the error has to say. (tests/hostile fetches them.)
func TestRefused(t *testing.T) {
	for _, c := range craft.RefusedAlone() {
		t.Run(c.Name, func(t *testing.T) {
			_, err := Scan(bytes.NewReader(c.Layers[0]), Limits{})
			if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.Want) {
				t.Errorf("got %v, want an invalid layer: %s", err, c.Want)
			}
		})
	}
}

// Layers that Scan cannot judge alone: Merge must refuse them.
func TestRefusedByMerge(t *testing.T) {
	for _, c := range craft.RefusedTogether() {
		t.Run(c.Name, func(t *testing.T) {
			_, err := scanAll(t, c.Layers...)
			if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.Want) {
				t.Errorf("got %v, want an invalid layer: %s", err, c.Want)
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
		{"end mark alone", craft.Raw(), "", status{Mode: 0o40755, Nlink: 2}},
		{"no end mark", craft.Block{Type: '6'}.Bytes(), "f", status{Mode: 0o10644, Nlink: 1, Sec: 0o14524770400, Same: "f"}},
		{"half an end mark", append(craft.Block{Type: '6'}.Bytes(), make([]byte, 512)...), "f", status{Mode: 0o10644, Nlink: 1, Sec: 0o14524770400, Same: "f"}},
		{"a second archive is not read", append(craft.Raw(craft.Block{Name: "a", Type: '6'}.Bytes()), craft.Raw(craft.Block{Name: "b", Type: '6'}.Bytes())...), "b", status{}},
		{"time far in the future", craft.Raw(craft.PAX('x', "mtime=4611686018427387904"), craft.Block{Type: '6'}.Bytes()), "f", status{Mode: 0o10644, Nlink: 1, Sec: maxTime, Same: "f"}},
		{"time far in the past", craft.Raw(craft.PAX('x', "mtime=-4611686018427387904"), craft.Block{Type: '6'}.Bytes()), "f", status{Mode: 0o10644, Nlink: 1, Sec: minTime, Same: "f"}},
		{"time before 1970", craft.Raw(craft.PAX('x', "mtime=-1.25"), craft.Block{Type: '6'}.Bytes()), "f", status{Mode: 0o10644, Nlink: 1, Sec: -2, Nsec: 750_000_000, Same: "f"}},
		{"time in base 256", craft.Raw(craft.Block{Type: '6', Mtime: "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe"}.Bytes()), "f", status{Mode: 0o10644, Nlink: 1, Sec: -2, Same: "f"}},
		{"finer than nanoseconds", craft.Raw(craft.PAX('x', "mtime=1.0000000019"), craft.Block{Type: '6'}.Bytes()), "f", status{Mode: 0o10644, Nlink: 1, Sec: 1, Nsec: 1, Same: "f"}},
		{"uid in base 256", craft.Raw(craft.Block{Type: '6', UID: "\x80\x00\x00\x00\xff\xff\xff\xfe"}.Bytes()), "f", status{Mode: 0o10644, Nlink: 1, UID: 1<<32 - 2, Sec: 0o14524770400, Same: "f"}},
		{"type bits in the mode", craft.Raw(craft.Block{Type: '6', Mode: "0104755\x00"}.Bytes()), "f", status{Mode: 0o14755, Nlink: 1, Sec: 0o14524770400, Same: "f"}},
		{"comment for all", craft.Raw(craft.PAX('g', "comment=0123"), craft.Block{Type: '6'}.Bytes()), "f", status{Mode: 0o10644, Nlink: 1, Sec: 0o14524770400, Same: "f"}},
		{"directory of old", craft.Raw(craft.WithType(craft.Block{Name: "d/"}.Bytes(), 0)), "d", status{Mode: 0o40644, Nlink: 2, Sec: 0o14524770400}},
		{"directory with a quota", craft.Raw(craft.Block{Name: "d", Type: '5', Size: "00000001000\x00"}.Bytes()), "d", status{Mode: 0o40644, Nlink: 2, Sec: 0o14524770400}},
		{"prefix of a header", craft.Raw(craft.Block{Name: "f", Prefix: "a/b", Type: '6'}.Bytes()), "a/b/f", status{Mode: 0o10644, Nlink: 1, Sec: 0o14524770400, Same: "a/b/f"}},
		{"prefix in a GNU header, as old Go wrote it", craft.Raw(craft.Block{Name: "f", Prefix: "a/b", Type: '6', Magic: "ustar  \x00"}.Bytes()), "a/b/f", status{Mode: 0o10644, Nlink: 1, Sec: 0o14524770400, Same: "a/b/f"}},
		{"times in a GNU header", craft.Raw(craft.Block{Name: "f", Prefix: "14524770400\x0014524770400\x00", Type: '6', Magic: "ustar  \x00"}.Bytes()), "f", status{Mode: 0o10644, Nlink: 1, Sec: 0o14524770400, Same: "f"}},
		{"whiteout far up", craft.Raw(craft.Block{Name: "../../../.wh.etc"}.Bytes()), "", status{Mode: 0o40755, Nlink: 2}},
		{"overlayfs's whiteout", craft.Raw(craft.Block{Name: "a", Type: '3'}.Bytes(), craft.Block{Name: "b", Type: '1', Link: "./a"}.Bytes(), craft.Block{Name: "c", Type: '1', Link: "b"}.Bytes()), "", status{Mode: 0o40755, Nlink: 2}},
		{"overlayfs's whiteout, replaced", craft.Raw(craft.Block{Name: "a", Type: '3'}.Bytes(), craft.Block{Name: "a", Type: '6'}.Bytes(), craft.Block{Name: "b", Type: '1', Link: "a"}.Bytes()), "b", status{Mode: 0o10644, Nlink: 2, Sec: 0o14524770400, Same: "a"}},
		{"file of aufs", craft.Raw(craft.Block{Name: ".wh..wh.plnk/1.2"}.Bytes(), craft.Block{Name: ".wh..wh.aufs"}.Bytes()), "", status{Mode: 0o40755, Nlink: 2}},
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
	holes := craft.Raw(craft.PAX('x', "GNU.sparse.name=s", "GNU.sparse.size=1125899906842624", "GNU.sparse.numblocks=2", "GNU.sparse.map=0,1,10,1"), craft.Block{Size: "00000000002\x00"}.Bytes(), craft.Padded("ab"))
	cases := []struct {
		name string
		tar  []byte
		lim  Limits
		want string
	}{
		{"entries", many, Limits{MaxEntries: 2}, "MaxEntries (2)"},
		{"names", archive(t, file(strings.Repeat("n", 200), "")), Limits{MaxNames: 100}, "MaxNames (100)"},
		{"xattrs count as names", archive(t, file("f", "").xattr("user.a", strings.Repeat("n", 200))), Limits{MaxNames: 100}, "MaxNames (100)"},
		{"a PAX header of a gigabyte", craft.Block{Type: 'x', Size: "10000000000\x00"}.Bytes(), Limits{}, "MaxPAX is 1048576"},
		{"a long name of a gigabyte", craft.Block{Type: 'L', Size: "10000000000\x00"}.Bytes(), Limits{}, "MaxPAX is 1048576"},
		{"a global header of a gigabyte", craft.Block{Type: 'g', Size: "10000000000\x00"}.Bytes(), Limits{}, "MaxPAX is 1048576"},
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

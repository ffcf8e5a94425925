package layer

import (
	"archive/tar"
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
)

// member is an entry of a tar that a test writes.
type member struct {
	tar.Header
	body string
}

// when is the mtime that members have: not a whole second, so that lost nanoseconds show.
var when = time.Unix(1_700_000_000, 123_456_789)

func file(name, body string) member {
	return member{tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, ModTime: when}, body}
}

func dir(name string, mode int64) member {
	return member{tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: mode, ModTime: when.Add(time.Hour)}, ""}
}

func symlink(name, target string) member {
	return member{tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target, Mode: 0o777, ModTime: when}, ""}
}

func hardlink(name, target string) member {
	return member{tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: target}, ""}
}

func special(kind byte, name string, major, minor int64) member {
	return member{tar.Header{Name: name, Typeflag: kind, Mode: 0o640, Devmajor: major, Devminor: minor, ModTime: when}, ""}
}

func fifo(name string) member { return special(tar.TypeFifo, name, 0, 0) }

func (m member) owner(uid, gid int) member {
	m.Uid, m.Gid = uid, gid
	return m
}

func (m member) mode(mode int64) member {
	m.Mode = mode
	return m
}

func (m member) xattr(name, value string) member {
	if m.PAXRecords == nil {
		m.PAXRecords = map[string]string{}
	}
	m.PAXRecords["SCHILY.xattr."+name] = value
	return m
}

// whiteouts are empty files.
func hide(name string) member { return file(name, "") }

// archive writes members as a tar; PAX, unless a member says otherwise.
func archive(t testing.TB, members ...member) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range members {
		h := m.Header
		h.Size = int64(len(m.body))
		if h.Format == tar.FormatUnknown {
			h.Format = tar.FormatPAX
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatalf("write %q: %v", h.Name, err)
		}
		if _, err := w.Write([]byte(m.body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// block is a raw header, for what archive/tar would not write. Fields are set by name.
type block struct {
	name, link, magic string
	prefix            string
	typeflag          byte
	mode, uid, gid    string // as they stand in the field
	size, mtime       string
	major, minor      string
}

func (h block) bytes() []byte {
	b := make([]byte, blockSize)
	put := func(at, n int, s, otherwise string) {
		if s == "" {
			s = otherwise
		}
		copy(b[at:at+n], s)
	}
	put(fieldName, 100, h.name, "f")
	put(fieldLink, 100, h.link, "")
	put(fieldMode, 8, h.mode, "0000644\x00")
	put(fieldUID, 8, h.uid, "0000000\x00")
	put(fieldGID, 8, h.gid, "0000000\x00")
	put(fieldSize, 12, h.size, "00000000000\x00")
	put(fieldMtime, 12, h.mtime, "14524770400\x00")
	put(fieldMagic, 8, h.magic, "ustar\x0000")
	put(fieldMajor, 8, h.major, "0000000\x00")
	put(fieldMinor, 8, h.minor, "0000000\x00")
	put(fieldPrefix, 155, h.prefix, "")
	b[fieldType] = h.typeflag
	if h.typeflag == 0 {
		b[fieldType] = '0'
	}
	return sum(b)
}

// sum sets the checksum.
func sum(b []byte) []byte {
	copy(b[fieldChecksum:], "        ")
	n := 0
	for _, c := range b {
		n += int(c)
	}
	copy(b[fieldChecksum:], fmt.Sprintf("%06o\x00 ", n))
	return b
}

// padded fills data up to a block.
func padded(s string) []byte {
	return append([]byte(s), make([]byte, -len(s)&(blockSize-1))...)
}

// paxBlocks is an extended header of some type with records "key=value".
func paxBlocks(typeflag byte, records ...string) []byte {
	var body strings.Builder
	for _, r := range records {
		n := len(r) + 3
		for len(fmt.Sprintf("%d %s\n", n, r)) != n {
			n++
		}
		fmt.Fprintf(&body, "%d %s\n", n, r)
	}
	return longBlocks(typeflag, body.String())
}

// longBlocks is an extension header with a body.
func longBlocks(typeflag byte, body string) []byte {
	h := block{name: "ext", typeflag: typeflag, size: fmt.Sprintf("%011o\x00", len(body))}
	return append(h.bytes(), padded(body)...)
}

// raw joins pieces into an archive with its end.
func raw(pieces ...[]byte) []byte {
	return append(bytes.Join(pieces, nil), make([]byte, 2*blockSize)...)
}

// withType changes the type flag of a header.
func withType(b []byte, typeflag byte) []byte {
	b[fieldType] = typeflag
	return sum(b)
}

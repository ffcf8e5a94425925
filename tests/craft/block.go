package craft

import (
	"bytes"
	"fmt"
	"strings"
)

const blockSize = 512

// Block is a raw tar header, for what archive/tar would not write. Fields are as they stand in the header; one that is
// empty has an innocent value.
type Block struct {
	Name, Link, Magic string
	Prefix            string
	Type              byte // 0 is '0'
	Mode, UID, GID    string
	Size, Mtime       string
	Major, Minor      string
}

// Offsets of what a header's maker sets later.
const (
	atChecksum = 148
	atType     = 156
)

// Bytes are the header, with its checksum.
func (h Block) Bytes() []byte {
	b := make([]byte, blockSize)
	for _, f := range []struct {
		at, n        int
		s, otherwise string
	}{
		{0, 100, h.Name, "f"},
		{100, 8, h.Mode, "0000644\x00"},
		{108, 8, h.UID, "0000000\x00"},
		{116, 8, h.GID, "0000000\x00"},
		{124, 12, h.Size, "00000000000\x00"},
		{136, 12, h.Mtime, "14524770400\x00"},
		{157, 100, h.Link, ""},
		{257, 8, h.Magic, "ustar\x0000"},
		{329, 8, h.Major, "0000000\x00"},
		{337, 8, h.Minor, "0000000\x00"},
		{345, 155, h.Prefix, ""},
	} {
		if f.s == "" {
			f.s = f.otherwise
		}
		copy(b[f.at:f.at+f.n], f.s)
	}
	b[atType] = h.Type
	if h.Type == 0 {
		b[atType] = '0'
	}
	return Sum(b)
}

// Sum sets a header's checksum.
func Sum(b []byte) []byte {
	copy(b[atChecksum:], "        ")
	n := 0
	for _, c := range b {
		n += int(c)
	}
	copy(b[atChecksum:], fmt.Sprintf("%06o\x00 ", n))
	return b
}

// WithType changes the type flag of a header.
func WithType(b []byte, typeflag byte) []byte {
	b[atType] = typeflag
	return Sum(b)
}

// Padded fills data up to a block.
func Padded(s string) []byte {
	return append([]byte(s), make([]byte, -len(s)&(blockSize-1))...)
}

// PAX is an extended header of some type with records "key=value".
func PAX(typeflag byte, records ...string) []byte {
	var body strings.Builder
	for _, r := range records {
		n := len(r) + 3
		for len(fmt.Sprintf("%d %s\n", n, r)) != n {
			n++
		}
		fmt.Fprintf(&body, "%d %s\n", n, r)
	}
	return Extension(typeflag, body.String())
}

// Extension is an extension header with a body.
func Extension(typeflag byte, body string) []byte {
	h := Block{Name: "ext", Type: typeflag, Size: fmt.Sprintf("%011o\x00", len(body))}
	return append(h.Bytes(), Padded(body)...)
}

// Raw joins pieces into an archive with its end.
func Raw(pieces ...[]byte) []byte {
	return append(bytes.Join(pieces, nil), make([]byte, 2*blockSize)...)
}

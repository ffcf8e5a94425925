package layer

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// header is one tar header, with the extension headers before it applied.
type header struct {
	name     string
	link     string
	typeflag byte
	mode     int64
	uid, gid int64
	size     int64 // of the data behind the header
	sec      int64
	nsec     uint32
	major    int64
	minor    int64
	gnu      bool
	sparse   *sparseMap
	xattrs   []paxXattr
}

// Fields of a header block: offset and length.
const (
	fieldName     = 0
	fieldMode     = 100
	fieldUID      = 108
	fieldGID      = 116
	fieldSize     = 124
	fieldMtime    = 136
	fieldChecksum = 148
	fieldType     = 156
	fieldLink     = 157
	fieldMagic    = 257
	fieldMajor    = 329
	fieldMinor    = 337
	fieldPrefix   = 345 // GNU: atime and ctime
	fieldTrailer  = 508
)

// parseHeader reads a header block, without extensions. Only what can change the meaning of the entry is read.
func parseHeader(b []byte) (header, error) {
	h := header{typeflag: b[fieldType]}
	if err := verifyChecksum(b); err != nil {
		return h, err
	}
	p := fieldParser{block: b}
	h.name = p.text(fieldName, 100)
	h.link = p.text(fieldLink, 100)
	h.mode = p.number("mode", fieldMode, 8)
	h.uid = p.number("uid", fieldUID, 8)
	h.gid = p.number("gid", fieldGID, 8)
	h.size = p.number("size", fieldSize, 12)
	h.sec = p.number("mtime", fieldMtime, 12)
	magic := string(b[fieldMagic : fieldMagic+8])
	h.gnu = magic == "ustar  \x00"
	posix := strings.HasPrefix(magic, "ustar\x00")
	if (h.gnu || posix) && (h.typeflag == '3' || h.typeflag == '4') {
		h.major = p.number("device major", fieldMajor, 8)
		h.minor = p.number("device minor", fieldMinor, 8)
	}
	if prefix := headerPrefix(b, h.gnu, posix); prefix != "" {
		h.name = prefix + "/" + h.name
	}
	return h, p.err
}

// headerPrefix is the first part of a long name. Go before 1.8 wrote it into headers that it marked as GNU's, where access times
// lie; there are images of that age. GNU's own times are numbers.
func headerPrefix(b []byte, gnu, posix bool) string {
	p := fieldParser{block: b}
	switch {
	case posix && string(b[fieldTrailer:fieldTrailer+4]) == "tar\x00": // star
		return p.text(fieldPrefix, 131)
	case posix:
		return p.text(fieldPrefix, 155)
	case gnu && b[fieldPrefix] != 0:
		p.number("atime", fieldPrefix, 12)
		if b[fieldPrefix+12] != 0 {
			p.number("ctime", fieldPrefix+12, 12)
		}
		if s := p.text(fieldPrefix, 155); p.err != nil && isASCII(s) {
			return s
		}
	}
	return ""
}

func isASCII(s string) bool {
	for k := range len(s) {
		if s[k] >= 0x80 {
			return false
		}
	}
	return true
}

// verifyChecksum sums the bytes with the checksum field taken as spaces. Old tars summed signed bytes.
func verifyChecksum(b []byte) error {
	p := fieldParser{block: b}
	want := p.number("checksum", fieldChecksum, 8)
	if p.err != nil {
		return p.err
	}
	var unsigned, signed int64
	for k, c := range b {
		if k >= fieldChecksum && k < fieldChecksum+8 {
			c = ' '
		}
		unsigned += int64(c)
		signed += int64(int8(c))
	}
	if want != unsigned && want != signed {
		return fmt.Errorf("%w: wrong header checksum", ErrInvalid)
	}
	return nil
}

// fieldParser keeps the first error.
type fieldParser struct {
	block []byte
	err   error
}

func (p *fieldParser) text(at, n int) string {
	b := p.block[at : at+n]
	if k := bytes.IndexByte(b, 0); k >= 0 {
		b = b[:k]
	}
	return string(b)
}

func (p *fieldParser) number(what string, at, n int) int64 {
	v, ok := parseNumber(p.block[at : at+n])
	if !ok && p.err == nil {
		p.err = fmt.Errorf("%w: %s is %q", ErrInvalid, what, p.block[at:at+n])
	}
	return v
}

// parseNumber reads octal digits, between spaces and NULs, or the base-256 form: the first bit set, then a big-endian two's complement.
func parseNumber(b []byte) (int64, bool) {
	if len(b) == 0 || b[0]&0x80 == 0 {
		return parseOctal(b)
	}
	flip := byte(0) // xor that makes a negative number positive
	if b[0]&0x40 != 0 {
		flip = 0xff
	}
	var v uint64
	for k, c := range b {
		c ^= flip
		if k == 0 {
			c &= 0x7f
		}
		if v>>56 != 0 {
			return 0, false
		}
		v = v<<8 | uint64(c)
	}
	if v>>63 != 0 {
		return 0, false
	}
	if flip != 0 {
		return ^int64(v), true
	}
	return int64(v), true
}

func parseOctal(b []byte) (int64, bool) {
	b = bytes.Trim(b, " \x00")
	var v int64
	for k, c := range b {
		switch {
		case c == 0: // digits, NUL, and then anything: old tars leave rubbish there
			return v, k > 0
		case c < '0' || c > '7' || v >= 1<<59:
			return 0, false
		}
		v = v<<3 | int64(c-'0')
	}
	return v, true
}

// parseDecimal reads a number of a PAX record: digits only, with a minus sign where negative is allowed by the caller.
func parseDecimal(s string) (int64, bool) {
	v, err := strconv.ParseInt(s, 10, 64)
	return v, err == nil && !strings.HasPrefix(s, "+")
}

// parseTime reads a PAX time: seconds, with a fraction of any length, of which nanoseconds are kept.
func parseTime(s string) (sec int64, nsec uint32, ok bool) {
	whole, fraction, _ := strings.Cut(s, ".")
	negative := strings.HasPrefix(whole, "-")
	if sec, ok = parseDecimal(whole); !ok {
		return 0, 0, false
	}
	scale := uint32(100_000_000)
	for k := range len(fraction) {
		c := fraction[k]
		if c < '0' || c > '9' {
			return 0, 0, false
		}
		nsec += uint32(c-'0') * scale
		scale /= 10
	}
	if negative && nsec > 0 {
		if sec == -1<<63 {
			return 0, 0, false
		}
		sec, nsec = sec-1, 1_000_000_000-nsec
	}
	return sec, nsec, true
}

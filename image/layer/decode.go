package layer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"

	"github.com/gantryrun/gantry/image/erofs"
)

// What Decode takes into memory at most: more than Scan keeps within its default limits.
const (
	maxIndexBytes   = 1 << 29
	maxIndexEntries = 1 << 24
)

// errIndex marks an index that Encode did not write.
var errIndex = errors.New("damaged layer index")

// Decode reads what Encode wrote. It checks everything that Merge relies on, and not only the checksum: whatever the bytes are, the result is a
// layer that Scan could have made, or an error.
func Decode(r io.Reader) (*Layer, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxIndexBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read layer index: %w", err)
	}
	body := len(b) - 4
	switch {
	case len(b) > maxIndexBytes:
		return nil, fmt.Errorf("read layer index: %w: more than %d bytes", errIndex, maxIndexBytes)
	case body < len(indexMagic) || string(b[:len(indexMagic)]) != indexMagic:
		return nil, fmt.Errorf("read layer index: %w: not one", errIndex)
	case crc32.Checksum(b[:body], crc32.MakeTable(crc32.Castagnoli)) != binary.LittleEndian.Uint32(b[body:]):
		return nil, fmt.Errorf("read layer index: %w: wrong checksum", errIndex)
	}
	d := &decoder{rest: b[len(indexMagic):body]}
	l := d.layer()
	if d.err == nil && len(d.rest) > 0 {
		d.fail("%d bytes too many", len(d.rest))
	}
	if d.err != nil {
		return nil, fmt.Errorf("read layer index: %w", d.err)
	}
	return l, nil
}

// decoder keeps the first error; after it, everything reads as zero.
type decoder struct {
	rest []byte
	err  error
	deltas
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %w", errIndex, fmt.Errorf(format, args...))
	}
	d.rest = nil
}

func (d *decoder) number(limit uint64) uint64 {
	n, k := binary.Uvarint(d.rest)
	if k <= 0 || n > limit {
		d.fail("a number is too large or missing")
		return 0
	}
	d.rest = d.rest[k:]
	return n
}

func (d *decoder) signed() int64 {
	n, k := binary.Varint(d.rest)
	if k <= 0 {
		d.fail("a number is too large or missing")
		return 0
	}
	d.rest = d.rest[k:]
	return n
}

func (d *decoder) text(limit int) string {
	n := d.number(uint64(limit))
	if n > uint64(len(d.rest)) {
		d.fail("it is cut off")
		return ""
	}
	s := string(d.rest[:n])
	d.rest = d.rest[n:]
	return s
}

func (d *decoder) byte() byte {
	if len(d.rest) == 0 {
		d.fail("it is cut off")
		return 0
	}
	c := d.rest[0]
	d.rest = d.rest[1:]
	return c
}

func (d *decoder) layer() *Layer {
	if v := d.number(math.MaxInt32); d.err == nil && v != indexVersion {
		d.fail("version %d, this program knows %d", v, indexVersion)
	}
	l := &Layer{Size: d.signed()}
	for range d.number(maxWarnings) {
		l.Warnings = append(l.Warnings, Warning{d.text(1 << 12), d.text(maxPath), int(d.number(math.MaxInt32))})
	}
	// Every entry takes three bytes or more: a false count is seen before it costs anything.
	for n := range d.number(min(uint64(len(d.rest))/3, maxIndexEntries)) {
		var x entry
		if d.entry(&x); d.err != nil {
			d.err = fmt.Errorf("entry %d: %w", n, d.err)
			return nil
		}
		l.entries.add(x)
	}
	return l
}

func (d *decoder) entry(x *entry) {
	flags := d.byte()
	x.kind = kind(flags & kindMask)
	same := d.number(uint64(len(d.path)))
	x.path = d.path[:same] + d.text(maxPath)
	d.path = x.path
	if x.kind >= kindEnd || flags&^(kindMask|flagXattrs|flagSparse|flagDirty) != 0 {
		d.fail("kind %#x", flags)
	}
	if x.path != "" && !isClean(x.path) || x.path == "" && x.kind != kindDir && x.kind != kindOpaque {
		d.fail("path %q", shorten(x.path))
	}
	switch x.kind {
	case kindWhiteout, kindOpaque:
		d.none(flags)
		return
	case kindHardlink:
		if x.link = d.text(maxPath); !isClean(x.link) {
			d.fail("hard link to %q", shorten(x.link))
		}
		d.none(flags)
		return
	}
	x.perm = uint16(d.number(0o7777))
	x.uid = uint32(d.number(math.MaxUint32 - 1))
	x.gid = uint32(d.number(math.MaxUint32 - 1))
	x.sec = d.sec + d.signed()
	d.sec = x.sec
	x.nsec = uint32(d.number(999_999_999))
	if x.sec < minTime || x.sec > maxTime {
		d.fail("time %d", x.sec)
	}
	switch x.kind {
	case kindSymlink:
		if x.link = d.text(maxPath); x.link == "" || hasNUL(x.link) {
			d.fail("symbolic link to %q", shorten(x.link))
		}
	case kindChar, kindBlock:
		x.rdev = uint32(d.number(math.MaxUint32))
	case kindRegular:
		d.place(x)
		x.dirty = flags&flagDirty != 0
	}
	if flags&flagDirty != 0 && x.size == 0 {
		d.fail("kind %#x", flags)
	}
	d.extra(x, flags)
}

// none checks that an entry that cannot have extras has none.
func (d *decoder) none(flags byte) {
	if flags&^kindMask != 0 {
		d.fail("kind %#x", flags)
	}
}

// place reads where the data lies.
func (d *decoder) place(x *entry) {
	x.size = int64(d.number(math.MaxInt64))
	if x.size > 0 {
		d.offset += int64(d.number(math.MaxInt64/blockSize/2)) * blockSize
		if x.offset = d.offset; x.offset < 0 {
			d.fail("offset of data is too large")
		}
	}
}

func (d *decoder) extra(x *entry, flags byte) {
	if flags&(flagXattrs|flagSparse) == 0 || d.err != nil {
		return
	}
	x.extra = &extra{}
	if flags&flagXattrs != 0 {
		d.xattrs(x)
	}
	if flags&flagSparse != 0 {
		d.sparse(x)
	}
}

func (d *decoder) xattrs(x *entry) {
	total := 0
	for range d.number(maxXattrTotal) {
		a := erofs.Xattr{Name: d.text(maxComponent), Value: d.text(maxXattrValue)}
		n := len(x.extra.xattrs)
		if refuseXattr(x.kind, paxXattr{a.Name, a.Value}) != "" || n > 0 && x.extra.xattrs[n-1].Name >= a.Name {
			d.fail("xattr %q", a.Name)
		}
		if total += len(a.Name) + len(a.Value); total > maxXattrTotal {
			d.fail("too many xattrs")
		}
		if d.err != nil {
			return
		}
		x.extra.xattrs = append(x.extra.xattrs, a)
	}
	if x.extra.xattrs == nil {
		d.fail("no xattrs")
	}
}

func (d *decoder) sparse(x *entry) {
	if x.kind != kindRegular || x.size == 0 {
		d.fail("sparse, but not a file")
	}
	x.extra.sparse = []erofs.Segment{}
	end := int64(0)
	for range d.number(uint64(len(d.rest)) / 2) {
		begin := end + int64(d.number(uint64(x.size-end)))
		length := int64(d.number(uint64(x.size - begin)))
		if length == 0 {
			d.fail("empty segment")
		}
		if d.err != nil {
			return
		}
		x.extra.sparse = append(x.extra.sparse, erofs.Segment{Offset: begin, Length: length})
		end = begin + length
	}
}

// TarSize reads of what Encode wrote no more than the size of the layer's tar: who wants to know whether a tar is whole
// can ask that of thousands.
func TarSize(r io.Reader) (int64, error) {
	head := make([]byte, len(indexMagic)+2*binary.MaxVarintLen64)
	n, err := io.ReadFull(r, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return 0, fmt.Errorf("read layer index: %w", err)
	}
	rest, ok := bytes.CutPrefix(head[:n], []byte(indexMagic))
	if !ok {
		return 0, fmt.Errorf("read layer index: %w: not one", errIndex)
	}
	d := &decoder{rest: rest}
	if v := d.number(math.MaxInt32); d.err == nil && v != indexVersion {
		d.fail("version %d, this program knows %d", v, indexVersion)
	}
	size := d.signed()
	if d.err != nil {
		return 0, fmt.Errorf("read layer index: %w", d.err)
	}
	return size, nil
}

package layer

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
)

// The file that Encode writes is an input of our own builds: what Scan made of a tar, so that no image needs the tar read again.
//
//	magic     "gantry layer\n"
//	varints   version, size of the tar, number of warnings, the warnings, number of entries, the entries
//	checksum  CRC32C of all of this, 4 bytes, little-endian
//
// An entry is a byte of its kind and flags, its path (how many bytes of the previous path it begins with, and the rest), and what
// its kind needs. Times and offsets are differences from the last entry that had them.
const (
	indexMagic   = "gantry layer\n"
	indexVersion = 1
)

// Flags beside the kind.
const (
	kindMask   = 0x0f
	flagXattrs = 0x10
	flagSparse = 0x20
	flagDirty  = 0x40 // regular files with data only
)

// Encode writes what the layer does, for Decode. Equal layers give equal bytes.
func (l *Layer) Encode(w io.Writer) error {
	crc := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	e := &encoder{w: bufio.NewWriterSize(w, 64<<10), crc: crc}
	e.buf = append(e.buf, indexMagic...)
	e.number(indexVersion)
	e.signed(l.Size)
	e.number(uint64(len(l.Warnings)))
	for _, warning := range l.Warnings {
		e.text(warning.What)
		e.text(warning.Path)
		e.number(uint64(warning.Count))
	}
	e.number(uint64(l.entries.len()))
	e.flush()
	for x := range l.entries.all() {
		e.entry(x)
		e.flush()
	}
	e.buf = binary.LittleEndian.AppendUint32(e.buf, crc.Sum32())
	_, _ = e.w.Write(e.buf)
	if err := e.w.Flush(); err != nil {
		return fmt.Errorf("write layer index: %w", err)
	}
	return nil
}

// encoder gathers an entry in buf. Errors stay in the bufio.Writer.
type encoder struct {
	w   *bufio.Writer
	crc hash.Hash32
	buf []byte
	deltas
}

// deltas is what differences refer to, in the encoder and in the decoder.
type deltas struct {
	path   string
	sec    int64
	offset int64
}

func (e *encoder) flush() {
	_, _ = e.crc.Write(e.buf)
	_, _ = e.w.Write(e.buf)
	e.buf = e.buf[:0]
}

func (e *encoder) number(n uint64) { e.buf = binary.AppendUvarint(e.buf, n) }
func (e *encoder) signed(n int64)  { e.buf = binary.AppendVarint(e.buf, n) }
func (e *encoder) text(s string) {
	e.number(uint64(len(s)))
	e.buf = append(e.buf, s...)
}

func (e *encoder) entry(x *entry) {
	flags := byte(x.kind)
	if x.extra != nil && x.extra.xattrs != nil {
		flags |= flagXattrs
	}
	if x.extra != nil && x.extra.sparse != nil {
		flags |= flagSparse
	}
	if x.dirty {
		flags |= flagDirty
	}
	e.buf = append(e.buf, flags)
	same := commonPrefix(e.path, x.path)
	e.number(uint64(same))
	e.text(x.path[same:])
	e.path = x.path
	switch x.kind {
	case kindWhiteout, kindOpaque:
		return
	case kindHardlink:
		e.text(x.link)
		return
	}
	e.number(uint64(x.perm))
	e.number(uint64(x.uid))
	e.number(uint64(x.gid))
	e.signed(x.sec - e.sec)
	e.sec = x.sec
	e.number(uint64(x.nsec))
	switch x.kind {
	case kindSymlink:
		e.text(x.link)
	case kindChar, kindBlock:
		e.number(uint64(x.rdev))
	case kindRegular:
		e.number(uint64(x.size))
		if x.size > 0 {
			// Offsets are those of blocks.
			e.number(uint64(x.offset-e.offset) / blockSize)
			e.offset = x.offset
		}
	}
	if flags&flagXattrs != 0 {
		e.number(uint64(len(x.extra.xattrs)))
		for _, a := range x.extra.xattrs {
			e.text(a.Name)
			e.text(a.Value)
		}
	}
	if flags&flagSparse != 0 {
		e.number(uint64(len(x.extra.sparse)))
		end := int64(0)
		for _, s := range x.extra.sparse {
			e.number(uint64(s.Offset - end))
			e.number(uint64(s.Length))
			end = s.Offset + s.Length
		}
	}
}

func commonPrefix(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

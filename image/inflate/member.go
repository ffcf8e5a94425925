package inflate

import (
	"hash/crc32"
	"io"
)

// Flags of a member's header.
const (
	flagHeaderCRC = 1 << 1
	flagExtra     = 1 << 2
	flagName      = 1 << 3
	flagComment   = 1 << 4
	flagReserved  = 0xe0
)

// nextHeader begins another member, if there is one.
func (d *Reader) nextHeader() error {
	if d.pos == d.end {
		if err := d.fill(); err != nil {
			return err
		}
		if d.pos == d.end {
			return io.EOF
		}
	}
	return d.header()
}

// header of a member (RFC 1952, 2.3). It begins at a byte.
func (d *Reader) header() error {
	h := headerReader{d: d}
	id := h.number(2)
	method, flags := h.byte(), h.byte()
	h.skip(6) // time, hints, system
	if h.err == nil && (id != 0x8b1f || method != 8 || flags&flagReserved != 0) {
		return ErrHeader
	}
	if flags&flagExtra != 0 {
		h.skip(int(h.number(2)))
	}
	for _, text := range []byte{flagName, flagComment} {
		for flags&text != 0 && h.err == nil && h.byte() != 0 { //nolint:revive // byte reads
		}
	}
	if flags&flagHeaderCRC != 0 {
		if want := h.crc & 0xffff; h.number(2) != want && h.err == nil {
			return ErrHeader
		}
	}
	d.from, d.crc, d.size = d.w, 0, 0
	d.step = (*Reader).block
	return h.err
}

// headerReader reads bytes until an error, and sums them up.
type headerReader struct {
	d   *Reader
	crc uint32
	err error
}

func (h *headerReader) byte() byte {
	if h.err != nil {
		return 0
	}
	v, err := h.d.take(8)
	if err == nil && h.d.overrun() {
		err = io.ErrUnexpectedEOF // and not ErrHeader, for what padding says
	}
	h.err = err
	h.crc = crc32.Update(h.crc, crc32.IEEETable, []byte{byte(v)})
	return byte(v)
}

func (h *headerReader) number(bytes int) (v uint32) {
	for i := range bytes {
		v |= uint32(h.byte()) << (8 * i)
	}
	return v
}

func (h *headerReader) skip(n int) {
	for range n {
		h.byte()
	}
}

// trailer of a member: checksum and size.
func (d *Reader) trailer() error {
	d.align()
	sum, err := d.take(32)
	if err != nil {
		return err
	}
	size, err := d.take(32)
	if err != nil {
		return err
	}
	if d.overrun() {
		return io.ErrUnexpectedEOF
	}
	if sum != d.crc || size != d.size {
		return ErrChecksum
	}
	d.align()
	d.step = (*Reader).nextHeader
	return nil
}

// Package inflate decompresses gzip (RFC 1951 and RFC 1952), for layers. Inflating is most of the work of a fetch, and
// this decoder takes about half the time of the libraries that there are for Go: it keeps 56 bits or more at hand,
// finds a symbol with its extra bits in one table entry, and writes matches in steps of 16 bytes.
//
// It knows nothing of layers or of networks. It never returns bytes that the stream does not hold, never reads or
// writes beyond its two buffers (about 600 kB together), and needs no more for any input.
package inflate

import (
	"errors"
	"hash/crc32"
	"io"
)

// Errors of a Reader, beside io.ErrUnexpectedEOF and those of its source.
var (
	ErrHeader   = errors.New("invalid header")
	ErrCorrupt  = errors.New("invalid data")
	ErrChecksum = errors.New("invalid checksum")
)

const (
	window   = 32 << 10
	outSize  = window + 256<<10
	outSlack = 258 + 32 // one turn of the loop: the longest match, literals, and what a copy in steps writes too much
	inSize   = 256 << 10
	inAhead  = 32 // bytes: more than one turn of the loop of a block loads
	// inPad zeros follow the last byte of the source, so that the end of a stream is decoded by the same loop as its
	// middle; overrun tells whether they were taken for data.
	inPad = 64
)

// Reader decompresses a gzip stream of one member or more. Bytes after the last that are no member are an error.
type Reader struct {
	src      io.Reader
	srcErr   error
	in       []byte
	pos, end int // in[pos:end] is not yet in bits
	bits     uint64
	nbits    uint // how many of bits count; those above them are zero, or what in[pos:] begins with

	out      []byte
	from     int // where the member's history begins
	given, w int // out[given:w] is decoded and not yet read
	err      error

	step  func(*Reader) error
	last  bool // the block is the member's last
	left  int  // bytes of a stored block to come
	crc   uint32
	size  uint32
	lit   [litTable]uint32
	dist  [distTable]uint32
	lens  [maxLit + maxDist]uint8
	pre   [1 << preBits]uint32
	fixed bool // lit and dist are those of fixed blocks

	litSymbols  [maxLit]uint32
	distSymbols [maxDist]uint32
}

// NewReader reads src only when it is read itself, and beyond the end of the gzip stream.
func NewReader(src io.Reader) *Reader {
	return &Reader{
		src: src, in: make([]byte, inSize+inPad), out: make([]byte, outSize), step: (*Reader).header,
		litSymbols: litSymbols(), distSymbols: distSymbols(),
	}
}

// Read implements io.Reader.
func (d *Reader) Read(p []byte) (int, error) {
	for d.given == d.w {
		if d.err != nil {
			return 0, d.err
		}
		d.decode()
	}
	n := copy(p, d.out[d.given:d.w])
	d.given += n
	return n, nil
}

// decode takes steps until there is something to give out, or an error.
func (d *Reader) decode() {
	if d.w > outSize-outSlack-1 {
		n := copy(d.out, d.out[d.w-window:d.w])
		d.from = max(0, d.from-(d.w-n))
		d.given, d.w = n, n
	}
	for d.w == d.given && d.err == nil {
		d.err = d.step(d)
		if d.overrun() {
			d.err, d.w = io.ErrUnexpectedEOF, d.given // what was made of padding is not data
		}
	}
	fresh := d.out[d.given:d.w]
	d.crc = crc32.Update(d.crc, crc32.IEEETable, fresh)
	d.size += uint32(len(fresh)) //nolint:gosec // modulo 2^32, as the format has it
}

// overrun says whether more bits were taken than the source had.
func (d *Reader) overrun() bool { return d.srcErr != nil && d.pos-int(d.nbits>>3) > d.end }

// fill reads until there is enough at pos for one turn of the loop of a block.
func (d *Reader) fill() error {
	if d.srcErr == nil {
		kept := min(8, d.pos) // align may give them back
		d.end = copy(d.in, d.in[d.pos-kept:d.end])
		d.pos = kept
	}
	for idle := 0; d.srcErr == nil && d.end-d.pos < inAhead; {
		n, err := d.src.Read(d.in[d.end:inSize])
		d.end += n
		if err == nil && n == 0 {
			if idle++; idle == 100 {
				err = io.ErrNoProgress
			}
		}
		if d.srcErr = err; err != nil {
			clear(d.in[d.end : d.end+inPad])
		}
	}
	switch {
	case d.limit()-d.pos >= inAhead:
		return nil
	case errors.Is(d.srcErr, io.EOF):
		return io.ErrUnexpectedEOF
	default:
		return d.srcErr
	}
}

// limit is where the bytes end that may be loaded: zeros after the end of the source, and after an error what came
// before it.
func (d *Reader) limit() int {
	if errors.Is(d.srcErr, io.EOF) {
		return d.end + inPad
	}
	return d.end
}

// need sees to it that bits holds n bits, at most 32.
func (d *Reader) need(n uint) error {
	if d.nbits >= n {
		return nil
	}
	if d.limit()-d.pos < 8 {
		if err := d.fill(); err != nil {
			return err
		}
	}
	d.bits |= load64(d.in, d.pos) << (d.nbits & 63)
	d.pos += int((63 - d.nbits) >> 3)
	d.nbits |= 56
	return nil
}

// take returns the next n bits, at most 32.
func (d *Reader) take(n uint) (uint32, error) {
	if err := d.need(n); err != nil {
		return 0, err
	}
	v := uint32(d.bits & (1<<n - 1)) //nolint:gosec // n is at most 32
	d.drop(n)
	return v, nil
}

func (d *Reader) drop(n uint) {
	d.bits >>= n & 63
	d.nbits -= n
}

// align drops the rest of a byte and gives whole bytes back to in.
func (d *Reader) align() {
	d.pos -= int(d.nbits >> 3)
	d.bits, d.nbits = 0, 0
}

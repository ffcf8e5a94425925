package inflate

import (
	"io"
)

// Symbols of the three codes of a dynamic block.
const (
	maxLit   = 288 // 286 and 287 take part in the fixed code
	maxDist  = 32  // 30 and 31 too
	maxCodes = 19
)

// codeOrder is the order in which a dynamic block gives the lengths of the code for lengths.
var codeOrder = [maxCodes]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// block reads the head of a block (RFC 1951, 3.2.3).
func (d *Reader) block() error {
	if d.last {
		d.last = false
		d.step = (*Reader).trailer
		return nil
	}
	head, err := d.take(3)
	if err != nil {
		return err
	}
	d.last = head&1 != 0
	switch head >> 1 {
	case 0:
		return d.stored()
	case 1:
		d.fixedCodes()
		d.step = (*Reader).symbols
		return nil
	case 2:
		d.step = (*Reader).symbols
		d.fixed = false
		return d.dynamicCodes()
	default:
		return ErrCorrupt
	}
}

func (d *Reader) stored() error {
	d.align()
	v, err := d.take(32)
	if err != nil {
		return err
	}
	if d.overrun() {
		return io.ErrUnexpectedEOF
	}
	if v&0xffff != ^v>>16 {
		return ErrCorrupt
	}
	d.align()
	d.left = int(v & 0xffff)
	d.step = (*Reader).copyStored
	return nil
}

// copyStored passes on what there is of a stored block and what there is room for.
func (d *Reader) copyStored() error {
	if d.left == 0 {
		d.step = (*Reader).block
		return nil
	}
	if d.pos == d.end {
		if err := d.fill(); err != nil && d.pos == d.end {
			return err
		}
		if d.pos == d.end {
			return io.ErrUnexpectedEOF
		}
	}
	n := copy(d.out[d.w:], d.in[d.pos:min(d.end, d.pos+d.left)])
	d.pos, d.w, d.left = d.pos+n, d.w+n, d.left-n
	return nil
}

func (d *Reader) fixedCodes() {
	if d.fixed {
		return
	}
	lens := d.lens[:maxLit+maxDist]
	for i := range lens {
		switch {
		case i < 144:
			lens[i] = 8
		case i < 256:
			lens[i] = 9
		case i < 280:
			lens[i] = 7
		case i < maxLit:
			lens[i] = 8
		default:
			lens[i] = 5
		}
	}
	buildTable(d.lit[:], litBits, lens[:maxLit], d.litSymbols[:])
	buildTable(d.dist[:], distBits, lens[maxLit:], d.distSymbols[:])
	d.fixed = true
}

// dynamicCodes reads the codes of a dynamic block (RFC 1951, 3.2.7).
func (d *Reader) dynamicCodes() error {
	counts, err := d.take(14)
	if err != nil {
		return err
	}
	lits, dists, codes := int(counts&31)+257, int(counts>>5&31)+1, int(counts>>10)+4
	if lits > 286 || dists > 30 {
		return ErrCorrupt
	}
	var codeLens [maxCodes]uint8
	for i := range codes {
		v, err := d.take(3)
		if err != nil {
			return err
		}
		codeLens[codeOrder[i]] = uint8(v) //nolint:gosec // three bits
	}
	if !buildTable(d.pre[:], preBits, codeLens[:], d.litSymbols[:]) {
		return ErrCorrupt
	}
	lens := d.lens[:lits+dists]
	if err := d.codeLengths(lens); err != nil {
		return err
	}
	if !buildTable(d.lit[:], litBits, lens[:lits], d.litSymbols[:]) ||
		!buildTable(d.dist[:], distBits, lens[lits:], d.distSymbols[:]) {
		return ErrCorrupt
	}
	return nil
}

// codeLengths decodes the lengths of both codes, which are one list.
func (d *Reader) codeLengths(lens []uint8) error {
	for i := 0; i < len(lens); {
		if err := d.need(7 + 7); err != nil {
			return err
		}
		e := d.pre[d.bits&(1<<preBits-1)]
		if e&entryLiteral == 0 {
			return ErrCorrupt // a code that is not in use
		}
		d.drop(uint(e & entryLength))
		var value uint8
		var times int
		switch symbol := uint8(e >> 16); symbol { //nolint:gosec // below 19
		case 16:
			if i == 0 {
				return ErrCorrupt
			}
			value, times = lens[i-1], 3+int(d.bits&3)
			d.drop(2)
		case 17:
			times = 3 + int(d.bits&7)
			d.drop(3)
		case 18:
			times = 11 + int(d.bits&127)
			d.drop(7)
		default:
			value, times = symbol, 1
		}
		if times > len(lens)-i {
			return ErrCorrupt
		}
		for range times {
			lens[i] = value
			i++
		}
	}
	return nil
}

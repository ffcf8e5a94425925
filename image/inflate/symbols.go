package inflate

import "encoding/binary"

func load64(b []byte, i int) uint64 { return binary.LittleEndian.Uint64(b[i : i+8 : len(b)]) }

// literalsPerLoad of the first table fit into 56 bits, and two of them with a length and its extra bits; a distance
// needs 28 bits more, and so a second load.
const literalsPerLoad = 3

// symbols decodes a block until it ends, or the input, or the room for output. Its loop keeps all in variables.
func (d *Reader) symbols() error {
	if d.limit()-d.pos < inAhead {
		if err := d.fill(); err != nil {
			return err
		}
	}
	in, out := d.in[:d.limit()], d.out
	lastPos := len(in) - inAhead
	lit, dist := &d.lit, &d.dist
	pos, w, bits, nbits, history := d.pos, d.w, d.bits, d.nbits, d.from
	var err error
turn:
	for pos <= lastPos && w < outSize-outSlack {
		bits |= load64(in, pos) << (nbits & 63)
		pos += int((63 - nbits) >> 3 & 7)
		nbits |= 56
		e := lit[bits&(1<<litBits-1)]
		for n := 1; e&entryLiteral != 0; n++ {
			bits, nbits = bits>>(e&63), nbits-uint(e&entryLength)
			out[w] = byte(e >> 16)
			w++
			if n == literalsPerLoad {
				continue turn
			}
			e = lit[bits&(1<<litBits-1)]
		}
		if e&entrySpecial != 0 {
			if e&entrySecond != 0 {
				bits, nbits = bits>>litBits, nbits-litBits
				e = lit[second(e, bits)]
			}
			if e&entryLiteral != 0 {
				bits, nbits = bits>>(e&63), nbits-uint(e&entryLength)
				out[w] = byte(e >> 16)
				w++
				continue
			}
			if e&entrySpecial != 0 {
				bits, nbits = bits>>(e&63), nbits-uint(e&entryLength)
				d.step, err = (*Reader).block, unused(e)
				break
			}
		}
		length := number(e, bits)
		bits, nbits = bits>>(e&63), nbits-uint(e&entryLength)

		bits |= load64(in, pos) << (nbits & 63)
		pos += int((63 - nbits) >> 3 & 7)
		nbits |= 56
		e = dist[bits&(1<<distBits-1)]
		if e&entrySecond != 0 && e&entrySpecial != 0 {
			bits, nbits = bits>>distBits, nbits-distBits
			e = dist[second(e, bits)]
		}
		distance := number(e, bits)
		if e&entrySpecial != 0 || distance > w-history {
			err = ErrCorrupt
			break
		}
		bits, nbits = bits>>(e&63), nbits-uint(e&entryLength)
		repeat(out, w, distance, length)
		w += length
	}
	d.pos, d.w, d.bits, d.nbits = pos, w, bits, nbits
	return err
}

// number is what an entry with base and extra bits says.
func number(e uint32, bits uint64) int { return int(e>>16) + int(bits&(1<<(e&63)-1)>>(e>>8&15)) }

// second is where the entry of a long code is, whose first bits are taken.
func second(e uint32, bits uint64) uint32 { return e>>16&0x7fff + uint32(bits)&(1<<(e>>8&15)-1) } //nolint:gosec // the low bits

// unused is the error of an entry that neither means something nor ends the block.
func unused(e uint32) error {
	if e&entryEnd == 0 {
		return ErrCorrupt
	}
	return nil
}

// repeat copies length bytes from distance before w to w. It may write up to 15 bytes more.
func repeat(out []byte, w, distance, length int) {
	from := w - distance
	switch {
	case distance >= 16:
		*(*[16]byte)(out[w:]) = *(*[16]byte)(out[from:])
		for n := 16; n < length; n += 16 {
			*(*[16]byte)(out[w+n:]) = *(*[16]byte)(out[from+n:])
		}
	case distance >= 8:
		for n := 0; n < length; n += 8 {
			*(*[8]byte)(out[w+n:]) = *(*[8]byte)(out[from+n:])
		}
	default:
		for n := range length {
			out[w+n] = out[from+n]
		}
	}
}

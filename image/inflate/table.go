package inflate

import "math/bits"

// A code's table is looked up with the next bits of the input. What a symbol needs is in one entry:
//
//	bit  31      literal: the byte is in bits 16 to 23
//	bits 16..30  base of a length or distance, or where the second table begins
//	bit  15      special: end of block (bit 13), second table (bit 14), or neither: a code that is not in use
//	bits 8..11   length of the code; of a second table: how many bits it is looked up with
//	bits 0..7    all bits to take: the code and its extra bits
const (
	entryLiteral = 1 << 31
	entrySpecial = 1 << 15
	entrySecond  = 1 << 14
	entryEnd     = 1 << 13
	entryLength  = 0xff

	litBits  = 11
	distBits = 9
	preBits  = 7 // no code for code lengths is longer
	longest  = 15

	// A second table has 1<<(longest-first) entries and at least two symbols.
	litTable  = 1<<litBits + maxLit/2<<(longest-litBits)
	distTable = 1<<distBits + maxDist/2<<(longest-distBits)
)

// litSymbols are the entries of symbols, without the length of their codes; the count of extra bits is where all bits
// to take will be. (A Reader keeps them: made at start-up, they would cost commands that never inflate.)
func litSymbols() (s [maxLit]uint32) {
	for i := range 256 {
		s[i] = entryLiteral | uint32(i)<<16
	}
	s[256] = entrySpecial | entryEnd
	base := uint32(3)
	for i := 257; i < 285; i++ {
		var extra uint32
		if i >= 265 {
			extra = uint32(i-261) / 4
		}
		s[i] = base<<16 | extra
		base += 1 << extra
	}
	s[285] = 258 << 16
	s[286], s[287] = entrySpecial, entrySpecial
	return s
}

// distSymbols are the same for distances.
func distSymbols() (s [maxDist]uint32) {
	base := uint32(1)
	for i := range 30 {
		extra := uint32(max(0, i/2-1)) //nolint:gosec // below 14
		s[i] = base<<16 | extra
		base += 1 << extra
	}
	s[30], s[31] = entrySpecial, entrySpecial
	return s
}

// buildTable fills t for the canonical code whose lengths are lens, of symbols whose entries are in symbols. It is to
// be looked up with first bits. False: the lengths make no prefix code that uses all bit strings. (Allowed are the
// code without symbols, and that of one symbol of one bit.)
func buildTable(t []uint32, first uint, lens []uint8, symbols []uint32) bool {
	var count, next [longest + 1]int
	for _, l := range lens {
		count[l]++
	}
	count[0] = 0
	code, used, most := 0, 0, 0
	for l := 1; l <= longest; l++ {
		code = (code + count[l-1]) << 1
		next[l] = code
		used += count[l] << (longest - l)
		if count[l] > 0 {
			most = l
		}
	}
	if used != 1<<longest {
		if most > 1 || used > 1<<(longest-1) {
			return false
		}
		for i := range t[:1<<first] {
			t[i] = entrySpecial
		}
	}
	if uint(most) > first {
		clear(t[:1<<first]) // addLong looks there for what it has built
	}
	second := 1 << first // where the next second table begins
	for symbol, l := range lens {
		if l == 0 {
			continue
		}
		reversed := int(bits.Reverse16(uint16(next[l])) >> (16 - l)) //nolint:gosec // a code of l bits
		next[l]++
		if uint(l) <= first {
			e := symbols[symbol] + uint32(l)<<8 + uint32(l)
			for i := reversed; i < 1<<first; i += 1 << l {
				t[i] = e
			}
			continue
		}
		second = addLong(t, first, uint(most), second, uint(l), reversed, symbols[symbol])
	}
	return true
}

// addLong enters a code that is longer than first. All second tables are looked up with most-first bits.
func addLong(t []uint32, first, most uint, second int, l uint, reversed int, symbol uint32) (next int) {
	prefix := reversed & (1<<first - 1)
	if t[prefix] == 0 {
		t[prefix] = uint32(second)<<16 | entrySpecial | entrySecond | uint32(most-first)<<8 | uint32(first) //nolint:gosec // small
		second += 1 << (most - first)
	}
	start := int(t[prefix] >> 16)
	rest := l - first
	e := symbol + uint32(rest)<<8 + uint32(rest) //nolint:gosec // below 16
	for i := reversed >> first; i < 1<<(most-first); i += 1 << rest {
		t[start+i] = e
	}
	return second
}

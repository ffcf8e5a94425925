package aci

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/gantryrun/gantry/image"
)

// maxDict of an xz block: what `xz -9` uses. The format allows 4 GiB.
const maxDict = 64 << 20

// xzGuard passes an xz file on and looks at each block's header on the way: the decoder allocates the dictionary that
// a block asks for before it has decoded anything. (xz-file-format 1.1; LZMA2's chunks say how long they are.)
//
//	stream header ─▶ block header ─▶ chunk … ─▶ end of chunks, padding, check ─▶ block header …
//	                             └─(0)─▶ index ─▶ footer ─▶ padding or stream header
type xzGuard struct {
	r    *bufio.Reader
	step func() ([]byte, error) // reads the next piece that says what follows, and sets step and rest
	head []byte                 // of that piece, what is still to be handed out
	rest int64                  // bytes behind it that say nothing

	check   int64  // size of the check behind a block
	n       int64  // bytes of the block's data, or of the index
	records uint64 // varints left of the index
}

func newXZGuard(r *bufio.Reader) *xzGuard {
	g := &xzGuard{r: r}
	g.step = g.stream
	return g
}

func (g *xzGuard) Read(p []byte) (int, error) {
	if len(g.head) == 0 && g.rest == 0 {
		var err error
		if g.head, err = g.step(); err != nil {
			return 0, err
		}
	}
	if len(g.head) > 0 {
		n := copy(p, g.head)
		g.head = g.head[n:]
		return n, nil
	}
	n, err := g.r.Read(p[:min(int64(len(p)), g.rest)])
	g.rest -= int64(n)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// take reads n bytes.
func (g *xzGuard) take(n int) ([]byte, error) {
	b := make([]byte, n)
	_, err := io.ReadFull(g.r, b)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return b, err
}

// checkSizes by the type of check (2.1.1.2).
var checkSizes = [16]int64{0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64}

func (g *xzGuard) stream() ([]byte, error) {
	if start, err := g.r.Peek(4); errors.Is(err, io.EOF) && len(start) == 0 {
		return nil, io.EOF
	} else if err == nil && binary.LittleEndian.Uint32(start) == 0 {
		return g.take(4) // padding between streams
	}
	head, err := g.take(12)
	if err == nil {
		g.check = checkSizes[head[7]&15]
		g.step = g.block
	}
	return head, err
}

func (g *xzGuard) block() ([]byte, error) {
	size, err := g.take(1)
	if err != nil {
		return nil, err
	}
	if size[0] == 0 {
		g.n, g.records, g.step = 1, 0, g.index
		return size, nil
	}
	more, err := g.take((int(size[0])+1)*4 - 1)
	if err != nil {
		return nil, err
	}
	head := slices.Concat(size, more)
	g.n, g.step = 0, g.chunk
	return head, checkDict(head)
}

// chunk of LZMA2: its first byte says what it is.
func (g *xzGuard) chunk() ([]byte, error) {
	control, err := g.take(1)
	if err != nil {
		return nil, err
	}
	c := control[0]
	var more []byte
	switch {
	case c == 0:
		g.n++
		g.rest = -g.n&3 + g.check
		g.step = g.block
		return control, nil
	case c <= 2:
		if more, err = g.take(2); err == nil {
			g.rest = int64(binary.BigEndian.Uint16(more)) + 1
		}
	case c >= 0x80:
		n := 4
		if c >= 0xc0 {
			n = 5 // and properties
		}
		if more, err = g.take(n); err == nil {
			g.rest = int64(binary.BigEndian.Uint16(more[2:])) + 1
		}
	default:
		err = errors.New("xz: not a chunk of LZMA2")
	}
	g.n += 1 + int64(len(more)) + g.rest
	return append(control, more...), err
}

// index: how many blocks there were, two numbers for each, then padding and a check. The footer follows.
func (g *xzGuard) index() ([]byte, error) {
	first := g.n == 1
	number, err := binary.ReadUvarint(g.r)
	if err != nil {
		return nil, io.ErrUnexpectedEOF
	}
	if number > 1<<62 {
		return nil, errors.New("xz: impossible index")
	}
	raw := binary.AppendUvarint(nil, number)
	g.n += int64(len(raw))
	if first {
		g.records = 2 * number
	} else {
		g.records--
	}
	if g.records == 0 {
		g.rest = -g.n&3 + 4 + 12
		g.step = g.stream
	}
	return raw, nil
}

// checkDict of a block's header (3.1, 5.3.1).
func checkDict(block []byte) error {
	at := 2
	for _, flag := range []byte{0x40, 0x80} { // compressed and uncompressed size, as variable-length integers
		for block[1]&flag != 0 && at < len(block)-4 {
			at++
			if block[at-1]&0x80 == 0 {
				break
			}
		}
	}
	if block[1]&3 != 0 || at+3 > len(block) || block[at] != 0x21 || block[at+1] != 1 || block[at+2] > 40 {
		return errors.New("xz: its filter is not LZMA2 alone")
	}
	bits := block[at+2]
	if size := uint64(2|bits&1) << (bits/2 + 11); size > maxDict {
		return fmt.Errorf("%w: xz dictionary of %d bytes, %d allowed", image.ErrLimit, size, maxDict)
	}
	return nil
}

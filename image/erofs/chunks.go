package erofs

import (
	"encoding/binary"
	"fmt"
	"io"
	"iter"
)

// A sparse file is a row of chunks of one size, and each is a hole or a run of blocks. A tar stores the segments of a sparse file
// back to back, so a chunk lies in the tar as it should be read only if one segment fills it and begins there on a block. A chunk
// for which that does not hold is copied into the index, which keeps its holes. So is the last block of a file, sparse or not, in a tar that
// ends before its padding, or whose padding is not zero: the kernel reads whole blocks (or gives EIO), and maps them too.
type chunkIndex struct {
	size   int64 // bytes of the file
	device int64 // bytes of the tar that may be read
	bits   uint  // log2 of the chunk size
	count  int64 // chunks of the file
	copied int64 // chunks that are copied
	start  int64 // block of the first of these
}

// maxChunkBits is what the five bits of the chunk format leave.
const maxChunkBits = blockBits + chunkBitsMask

// maxSparse keeps sums of sizes and chunks far from overflow.
const maxSparse = 1 << 52

// newChunkIndex picks the chunk size. Small chunks need a long index, large ones more room for copies. Hostile archives
// can say "a terabyte, one block of it stored" in 1 KiB, so the index of a file is held to the size of what the tar stores for it.
func newChunkIndex(i *Inode, device int64) (*chunkIndex, error) {
	stored, common := int64(0), uint64(0)
	if i.Size > maxSparse {
		return nil, fmt.Errorf("place sparse file: %d bytes are too many", i.Size)
	}
	end := int64(0)
	for _, s := range i.segments() {
		if s.Length <= 0 || s.Offset < end || s.Length > i.Size-s.Offset {
			return nil, fmt.Errorf("place sparse file: segment of %d bytes at %d", s.Length, s.Offset)
		}
		end = s.Offset + s.Length
		common |= uint64(s.Offset) | uint64(stored)&(BlockSize-1)
		if end != i.Size {
			common |= uint64(end)
		}
		stored += s.Length
	}
	if align(i.Offset+stored, BlockSize) > device || i.Dirty {
		common |= BlockSize // small chunks, or much would be copied
	}
	if i.Dirty {
		device = min(device, i.Offset+stored)
	}
	c := &chunkIndex{bits: blockBits, size: i.Size, device: device}
	for c.bits < maxChunkBits && common&(1<<c.bits) == 0 && common&(1<<c.bits-1) == 0 && 1<<c.bits < i.Size {
		c.bits++
	}
	limit := max(256, stored/64)
	for c.count = c.chunks(); c.count > limit; c.count = c.chunks() {
		if c.bits++; c.bits > maxChunkBits {
			return nil, fmt.Errorf("place sparse file: %d bytes are too many", i.Size)
		}
	}
	for _, where := range c.all(i) {
		if where == chunkCopied {
			c.copied++
		}
	}
	return c, nil
}

func (c *chunkIndex) chunks() int64 {
	return c.size>>c.bits + min(1, c.size&(1<<c.bits-1))
}

// segments is what is stored of a file, sparse or not.
func (i *Inode) segments() []Segment {
	if i.Sparse == nil && i.Size > 0 {
		return []Segment{{0, i.Size}}
	}
	return i.Sparse
}

const chunkCopied = -1

// all gives every chunk that is not a hole, in order, with the byte of the tar where it begins, or chunkCopied.
func (c *chunkIndex) all(i *Inode) iter.Seq2[int64, int64] {
	return func(yield func(chunk, where int64) bool) {
		data := i.Offset
		done := int64(-1) // last chunk that was given: the next segment may begin in it
		for _, s := range i.segments() {
			end := s.Offset + s.Length
			for n := max(s.Offset>>c.bits, done+1); n<<c.bits < end; n++ {
				if done = n; !yield(n, c.place(n, s, data)) {
					return
				}
			}
			data += s.Length
		}
	}
}

// place says where chunk n lies in the tar if segment s, which begins there at byte data, fills it.
func (c *chunkIndex) place(n int64, s Segment, data int64) int64 {
	begin, end := n<<c.bits, s.Offset+s.Length
	pos := data + begin - s.Offset
	size := min(1<<c.bits, c.size-begin)
	if begin < s.Offset || end-begin < size || pos%BlockSize != 0 || align(pos+size, BlockSize) > c.device {
		return chunkCopied
	}
	return pos
}

// append appends the chunk index of a file whose device begins at a block number.
func (c *chunkIndex) append(b []byte, i *Inode, device int64) []byte {
	entry := func(block int64) {
		b = binary.LittleEndian.AppendUint64(b, uint64(block)<<32) // device 0: block numbers are those of the shared space
	}
	next, copied := int64(0), c.start
	hole := func(to int64) {
		for ; next < to; next++ {
			entry(nullAddr)
		}
	}
	for n, where := range c.all(i) {
		hole(n)
		if where == chunkCopied {
			entry(copied)
			copied += 1 << (c.bits - blockBits)
		} else {
			entry(device + where/BlockSize)
		}
		next++
	}
	hole(c.count)
	return b
}

// copyChunks writes the chunks that the tar does not hold as they read. It passes over the segments once: a hostile tar has a million
// of them, and as many chunks.
func (c *chunkIndex) copyChunks(w io.WriterAt, i *Inode, tar io.ReaderAt) error {
	if c.copied == 0 {
		return nil
	}
	if tar == nil {
		return fmt.Errorf("copy sparse file: its layer's data is needed")
	}
	size, at := int64(1)<<c.bits, c.start*BlockSize
	rest, buf := pieces{i.segments(), i.Offset}, make([]byte, 32<<10)
	for n, where := range c.all(i) {
		if where != chunkCopied {
			continue
		}
		begin := n << c.bits
		rest = rest.from(begin)
		err := rest.each(begin, min(begin+size, i.Size), func(file, data, length int64) error {
			dst := io.NewOffsetWriter(w, at+file-begin)
			copied, err := io.CopyBuffer(dst, io.NewSectionReader(tar, data, length), buf)
			if err != nil || copied != length {
				return fmt.Errorf("copy sparse file: %d of %d bytes: %w", copied, length, orShort(err))
			}
			return nil
		})
		if err != nil {
			return err
		}
		at += size
	}
	return nil
}

func orShort(err error) error {
	if err == nil {
		return io.ErrUnexpectedEOF
	}
	return err
}

// pieces are what is stored of a file, or of its end: segments, and where on the device the first of them begins.
type pieces struct {
	segments []Segment
	data     int64
}

// from leaves out the segments that end before byte begin of the file.
func (p pieces) from(begin int64) pieces {
	for len(p.segments) > 0 && p.segments[0].Offset+p.segments[0].Length <= begin {
		p.data += p.segments[0].Length
		p.segments = p.segments[1:]
	}
	return p
}

// each calls f for what is stored of the bytes [from, to) of a file: at which byte of the file, of its device, and how much.
func (p pieces) each(from, to int64, f func(file, data, length int64) error) error {
	for _, seg := range p.segments {
		if seg.Offset >= to {
			break
		}
		if a, b := max(from, seg.Offset), min(to, seg.Offset+seg.Length); a < b {
			if err := f(a, p.data+a-seg.Offset, b-a); err != nil {
				return err
			}
		}
		p.data += seg.Length
	}
	return nil
}

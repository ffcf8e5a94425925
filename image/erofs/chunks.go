package erofs

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
)

// A sparse file is a row of chunks of one size, and each is a hole or a run of blocks. A tar stores the segments of a sparse file
// back to back, so a chunk lies in the tar as it should be read only if one segment fills it and begins there on a block. A chunk
// for which that does not hold is copied into the index, which keeps its holes. So is the last block of a file, sparse or not, in a tar that
// ends before its padding: the kernel reads whole blocks (EIO otherwise).
type chunkIndex struct {
	device int64 // bytes of the tar
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
	if align(i.Offset+stored, BlockSize) > device {
		common |= BlockSize // small chunks, or much would be copied
	}
	c := &chunkIndex{bits: blockBits, device: device}
	for c.bits < maxChunkBits && common&(1<<c.bits) == 0 && common&(1<<c.bits-1) == 0 && 1<<c.bits < i.Size {
		c.bits++
	}
	limit := max(256, stored/64)
	for c.count = c.chunks(i.Size); c.count > limit; c.count = c.chunks(i.Size) {
		if c.bits++; c.bits > maxChunkBits {
			return nil, fmt.Errorf("place sparse file: %d bytes are too many", i.Size)
		}
	}
	c.walk(i, func(_ int64, where int64) error {
		if where == chunkCopied {
			c.copied++
		}
		return nil
	})
	return c, nil
}

func (c *chunkIndex) chunks(size int64) int64 {
	return size>>c.bits + min(1, size&(1<<c.bits-1))
}

// segments is what is stored of a file, sparse or not.
func (i *Inode) segments() []Segment {
	if i.Sparse == nil && i.Size > 0 {
		return []Segment{{0, i.Size}}
	}
	return i.Sparse
}

const chunkCopied = -1

// walk calls f for every chunk that is not a hole, with the byte of the tar where it begins, or chunkCopied.
func (c *chunkIndex) walk(i *Inode, f func(chunk, where int64) error) error {
	data := i.Offset
	done := int64(-1) // last chunk that was handed to f
	for _, s := range i.segments() {
		end := s.Offset + s.Length
		for n := max(s.Offset>>c.bits, done+1); n<<c.bits < end; n++ {
			begin := n << c.bits
			where := int64(chunkCopied)
			filled := end-begin >= 1<<c.bits || end == i.Size
			pos := data + begin - s.Offset
			last := align(pos+min(1<<c.bits, end-begin), BlockSize)
			if begin >= s.Offset && filled && pos%BlockSize == 0 && last <= c.device {
				where = pos
			}
			if err := f(n, where); err != nil {
				return err
			}
			done = n
		}
		data += s.Length
	}
	return nil
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
	_ = c.walk(i, func(n, where int64) error {
		hole(n)
		if where == chunkCopied {
			entry(copied)
			copied += 1 << (c.bits - blockBits)
		} else {
			entry(device + where/BlockSize)
		}
		next++
		return nil
	})
	hole(c.count)
	return b
}

// copyChunks writes the chunks that the tar does not hold as they read.
func (c *chunkIndex) copyChunks(w io.WriterAt, i *Inode, tar io.ReaderAt) error {
	if c.copied == 0 {
		return nil
	}
	if tar == nil {
		return fmt.Errorf("copy sparse file: its layer's data is needed")
	}
	size, nth := int64(1)<<c.bits, int64(0)
	return c.walk(i, func(n, where int64) error {
		if where != chunkCopied {
			return nil
		}
		at := (c.start + nth*(size/BlockSize)) * BlockSize
		nth++
		return eachPart(i, n*size, size, func(file, data, length int64) error {
			src := io.NewSectionReader(tar, data, length)
			dst := io.NewOffsetWriter(w, at+file-n*size)
			if copied, err := io.Copy(dst, src); err != nil || copied != length {
				return fmt.Errorf("copy sparse file: %d of %d bytes: %w", copied, length, orShort(err))
			}
			return nil
		})
	})
}

func orShort(err error) error {
	if err == nil {
		return io.ErrUnexpectedEOF
	}
	return err
}

// eachPart calls f for what is stored of the bytes [from, from+length) of a file: at which byte of the file, of its device, and how much.
func eachPart(i *Inode, from, length int64, f func(file, data, length int64) error) error {
	to := i.Size
	if length < math.MaxInt64-from {
		to = min(to, from+length)
	}
	data := i.Offset
	for _, s := range i.segments() {
		if s.Offset >= to {
			break
		}
		if a, b := max(from, s.Offset), min(to, s.Offset+s.Length); a < b {
			if err := f(a, data+a-s.Offset, b-a); err != nil {
				return err
			}
		}
		data += s.Length
	}
	return nil
}

package erofs

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Open returns the bytes of a regular file; holes read as zero. The tars stay the caller's.
func (i *Inode) Open(devices []io.ReaderAt) (*io.SectionReader, error) {
	if !i.IsRegular() {
		return nil, fmt.Errorf("open file: a file of mode %#o has no bytes", i.Mode)
	}
	if i.Size == 0 {
		return io.NewSectionReader(nil, 0, 0), nil
	}
	if i.Device < 1 || i.Device > len(devices) || devices[i.Device-1] == nil {
		return nil, fmt.Errorf("open file: layer %d is not at hand", i.Device)
	}
	tar := devices[i.Device-1]
	if i.Sparse == nil {
		return io.NewSectionReader(tar, i.Offset, i.Size), nil
	}
	return io.NewSectionReader(&sparseReader{inode: i, tar: tar}, 0, i.Size), nil
}

// sparseReader reads a sparse file whose segments are known.
type sparseReader struct {
	inode *Inode
	tar   io.ReaderAt
}

func (s *sparseReader) ReadAt(p []byte, off int64) (int, error) {
	n := int(min(int64(len(p)), max(0, s.inode.Size-off)))
	clear(p[:n])
	err := pieces{s.inode.segments(), s.inode.Offset}.each(off, off+int64(n), func(file, data, length int64) error {
		got, err := s.tar.ReadAt(p[file-off:file-off+length], data)
		if int64(got) < length {
			return orShort(err)
		}
		return nil
	})
	if err == nil && n < len(p) {
		err = io.EOF
	}
	return n, err
}

// OpenNid returns the bytes of a regular file of the index.
func (m *Image) OpenNid(nid uint64) (*io.SectionReader, error) {
	i, r, err := m.inode(nid)
	if err != nil {
		return nil, err
	}
	if r.disk.layout != layoutChunks || !i.IsRegular() {
		return i.Open(m.devices)
	}
	format := r.disk.union
	if format&^(chunkIndexes|chunkBitsMask) != 0 || format&chunkIndexes == 0 {
		return nil, fmt.Errorf("open file: inode %d: %w: chunk format %#x", nid, errDamaged, format)
	}
	c := &chunkReader{image: m, size: i.Size, table: align(r.tail, chunkSize), bits: blockBits + uint(format&chunkBitsMask)}
	if i.Size>>c.bits > maxChunks {
		return nil, fmt.Errorf("open file: inode %d: %w: %d bytes in small chunks", nid, errDamaged, i.Size)
	}
	return io.NewSectionReader(c, 0, i.Size), nil
}

// chunkReader reads a sparse file through its chunk index.
type chunkReader struct {
	image *Image
	size  int64
	table int64 // where the chunk index lies
	bits  uint
}

func (c *chunkReader) ReadAt(p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) && off < c.size {
		chunk := off >> c.bits
		n := int(min(int64(len(p)-done), (chunk+1)<<c.bits-off, c.size-off))
		if err := c.readChunk(p[done:done+n], chunk, off-chunk<<c.bits); err != nil {
			return done, err
		}
		done += n
		off += int64(n)
	}
	if done < len(p) {
		return done, io.EOF
	}
	return done, nil
}

// readChunk fills p from one chunk.
func (c *chunkReader) readChunk(p []byte, chunk, within int64) error {
	entry, err := c.image.bytes(c.table+chunk*chunkSize, chunkSize)
	if err != nil {
		return err
	}
	block := binary.LittleEndian.Uint32(entry[4:])
	if block == nullAddr {
		clear(p)
		return nil
	}
	device, at := c.image.place(int64(block))
	src := c.image.index
	if device > 0 {
		if device > len(c.image.devices) || c.image.devices[device-1] == nil {
			return fmt.Errorf("read file: layer %d is not at hand", device)
		}
		src = c.image.devices[device-1]
	}
	n, err := src.ReadAt(p, at+within)
	if n < len(p) {
		return fmt.Errorf("read file: %w", orShort(err))
	}
	return nil
}

package erofs

import (
	"bufio"
	"fmt"
	"os"
)

// Write writes the index of the tree below root into w, which is empty and positioned at its start. The inodes' data lies on devices.
// A nil error means that the index is complete; it is not synced. Write numbers the inodes: two calls must not share any at one time.
func Write(w *os.File, root *Inode, devices []Device) error {
	l, err := newLayout(root, devices)
	if err != nil {
		return fmt.Errorf("lay out index: %w", err)
	}
	out := &output{w: bufio.NewWriterSize(w, 1<<18)}
	out.put(superblock{
		rootNid: uint16(l.nid(root)),
		inodes:  uint64(len(l.order)),
		blocks:  uint32(l.blocks),
		devices: uint16(len(devices)),
	}.encode(l.table))
	l.writeInodes(out)
	l.writeBlocks(out)
	if err := out.w.Flush(); err != nil {
		return fmt.Errorf("write index: %w", err)
	}
	for k := range l.order {
		p := &l.order[k]
		if p.chunks == nil || p.chunks.copied == 0 {
			continue
		}
		if err := p.chunks.copyChunks(w, p.inode, devices[p.inode.Device-1].Data); err != nil {
			return err
		}
	}
	if err := w.Truncate(l.blocks * BlockSize); err != nil {
		return fmt.Errorf("set size of index: %w", err)
	}
	return nil
}

// output counts bytes; errors stay in the bufio.Writer until Flush.
type output struct {
	w   *bufio.Writer
	pos int64
	buf []byte // for one inode
}

func (o *output) put(b []byte) {
	_, _ = o.w.Write(b)
	o.pos += int64(len(b))
}

// seek fills with zeros up to pos.
func (o *output) seek(pos int64) {
	var zero [BlockSize]byte
	for o.pos < pos {
		o.put(zero[:min(pos-o.pos, BlockSize)])
	}
}

func (l *layout) writeInodes(out *output) {
	for k := range l.order {
		p := &l.order[k]
		out.seek(p.pos)
		d := p.disk(l)
		d.ino = uint32(k + 1)
		b := appendXattrs(d.append(out.buf[:0]), p.inode.Xattrs)
		switch p.layout {
		case layoutChunks:
			b = append(b, make([]byte, align(int64(len(b))+p.pos, chunkSize)-int64(len(b))-p.pos)...)
			b = p.chunks.append(b, p.inode, l.deviceStart(p.inode))
		case layoutInline:
			body := l.body(nil, p)
			b = append(b, body[p.size/BlockSize*BlockSize:]...)
		}
		out.put(b)
		out.buf = b
	}
}

// body appends the content of a directory or a link.
func (l *layout) body(b []byte, p *placed) []byte {
	if p.inode.IsDir() {
		return l.appendDir(b, p)
	}
	return append(b, p.inode.Target...)
}

func (l *layout) writeBlocks(out *output) {
	for k := range l.order {
		p := &l.order[k]
		if p.size == 0 || p.layout == layoutInline && p.size < BlockSize {
			continue
		}
		out.seek(p.start * BlockSize)
		body := l.body(nil, p)
		if p.layout == layoutInline {
			body = body[:p.size/BlockSize*BlockSize]
		}
		out.put(body)
	}
	out.seek(align(out.pos, BlockSize))
}

func (l *layout) deviceStart(i *Inode) int64 {
	if i.Device == 0 {
		return 0
	}
	return int64(l.table[i.Device-1].start)
}

// disk is the inode as stored.
func (p *placed) disk(l *layout) diskInode {
	i := p.inode
	d := diskInode{
		layout: p.layout, xattrCount: xattrCount(p.xattrs),
		mode: uint16(i.Mode), uid: i.UID, gid: i.GID, nlink: i.Nlink,
		sec: uint64(i.Sec), nsec: i.Nsec,
	}
	switch i.Mode & ModeType {
	case ModeDir, ModeSymlink:
		d.size, d.union = uint64(p.size), uint32(p.start)
	case ModeChar, ModeBlock:
		d.union = i.Rdev
	case ModeRegular:
		d.size = uint64(i.Size)
		switch {
		case p.chunks != nil:
			d.union = chunkIndexes | uint32(p.chunks.bits-blockBits)
		case i.Size > 0:
			d.union = uint32(l.deviceStart(i) + i.Offset/BlockSize)
		}
	}
	return d
}

package erofs

import (
	"fmt"
	"io"
	"math"
)

// layout decides where everything lies before a byte is written:
//
//	0      1024        1152            root inode                                                   blocks
//	| zero | superblock | device table | inodes, each with xattrs, then inline | whole blocks of  | blocks of sparse
//	|      |            |              | tail or chunk index                   | directories, links | files, see chunks.go
//
// Inodes of one directory lie together. Behind the index's own blocks the devices follow, one after the other, in the same
// space of block numbers (kernel: erofs_map_dev).
type layout struct {
	order   []placed
	cursor  int64 // end of what is placed so far, in bytes
	blocks  int64 // blocks of the index itself
	table   []deviceSlot
	devices []Device
}

// placed is an inode with its place.
type placed struct {
	inode  *Inode
	parent *Inode // of a directory, for ".."
	pos    int64
	xattrs int // bytes of xattrs
	layout uint16
	size   int64 // bytes of a directory or link, as stored
	start  int64 // first whole block of it
	chunks *chunkIndex
}

// Device is a layer's tar.
type Device struct {
	Size int64       // in bytes
	Data io.ReaderAt // read only for sparse files whose segments do not begin on blocks; may be nil where there are none
}

func newLayout(root *Inode, devices []Device) (*layout, error) {
	if !root.IsDir() {
		return nil, fmt.Errorf("root is not a directory")
	}
	// The root's number has 16 bits, and counts from the start of the file.
	if len(devices) > (math.MaxUint16*nidSize-deviceTableOffset)/slotSize {
		return nil, fmt.Errorf("%d layers are too many", len(devices))
	}
	l := &layout{devices: devices, cursor: int64(headSize(len(devices)))}
	l.add(root, root)
	if err := l.collect(root); err != nil {
		return nil, err
	}
	if err := l.placeInodes(); err != nil {
		return nil, err
	}
	l.placeBlocks()
	return l, l.placeDevices()
}

// known reports whether an inode has its place already. Inode.slot may be left from another layout: so both sides must agree.
func (l *layout) known(i *Inode) bool {
	return i.slot < len(l.order) && l.order[i.slot].inode == i
}

func (l *layout) add(i, parent *Inode) {
	i.slot = len(l.order)
	l.order = append(l.order, placed{inode: i, parent: parent})
}

// collect lists the inodes below dir, a directory's own before those of its subdirectories.
func (l *layout) collect(dir *Inode) error {
	for k, e := range dir.Entries {
		if err := checkName(e.Name); err != nil {
			return err
		}
		if k > 0 && dir.Entries[k-1].Name >= e.Name {
			return fmt.Errorf("directory entries %q and %q are not sorted", dir.Entries[k-1].Name, e.Name)
		}
		if !l.known(e.Inode) {
			l.add(e.Inode, dir)
		} else if e.Inode.IsDir() {
			return fmt.Errorf("directory %q has two names", e.Name)
		}
	}
	for _, e := range dir.Entries {
		if e.Inode.IsDir() {
			if err := l.collect(e.Inode); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkName(name string) error {
	if name == "" || name == "." || name == ".." || len(name) > maxNameLen {
		return fmt.Errorf("file name %q cannot be stored", name)
	}
	for i := range len(name) {
		if name[i] == '/' || name[i] == 0 {
			return fmt.Errorf("file name %q cannot be stored", name)
		}
	}
	return nil
}

func (l *layout) placeInodes() error {
	for k := range l.order {
		p := &l.order[k]
		var err error
		if p.xattrs, err = xattrSize(p.inode.Xattrs); err != nil {
			return err
		}
		l.cursor = align(l.cursor, nidSize)
		switch p.inode.Mode & ModeType {
		case ModeDir:
			p.size = dirSize(p.inode)
			l.placeInline(p)
		case ModeSymlink:
			p.size = int64(len(p.inode.Target))
			l.placeInline(p)
		case ModeRegular:
			if err := l.placeRegular(p); err != nil {
				return err
			}
		default:
			p.pos = l.cursor
			l.cursor += p.head()
		}
	}
	return nil
}

// head is the room that an inode and its xattrs take.
func (p *placed) head() int64 { return inodeSize + int64(p.xattrs) }

// placeInline puts the tail of a directory or link behind its inode, if one block can hold it: an inline tail must not
// cross a block boundary (the kernel calls that corruption), so the inode moves up where it would.
func (l *layout) placeInline(p *placed) {
	tail := p.size % BlockSize
	p.layout, p.pos = layoutPlain, l.cursor
	if tail > 0 {
		at := p.pos + p.head()
		if at%BlockSize+tail > BlockSize {
			p.pos = align(l.cursor, BlockSize)
			at = p.pos + p.head()
		}
		if at%BlockSize+tail <= BlockSize {
			p.layout = layoutInline
			l.cursor = at + tail
			return
		}
		p.pos = l.cursor
	}
	l.cursor = p.pos + p.head()
}

func (l *layout) placeRegular(p *placed) error {
	i := p.inode
	p.pos, p.layout = l.cursor, layoutPlain
	l.cursor += p.head()
	if i.Size < 0 || i.Offset < 0 || i.Offset%BlockSize != 0 || i.Device < 0 || i.Device > len(l.devices) {
		return fmt.Errorf("place file: %d bytes at %d of layer %d", i.Size, i.Offset, i.Device)
	}
	stored, device := int64(0), int64(0)
	for _, s := range i.segments() {
		stored += s.Length
	}
	if i.Device > 0 {
		device = l.devices[i.Device-1].Size
	}
	if stored > 0 && stored > device-i.Offset {
		return fmt.Errorf("place file: %d bytes at %d of layer %d lie outside of it", stored, i.Offset, i.Device)
	}
	if i.Sparse == nil && !i.Dirty && align(i.Offset+stored, BlockSize) <= device {
		return nil
	}
	chunks, err := newChunkIndex(i, device)
	if err != nil {
		return err
	}
	p.chunks, p.layout = chunks, layoutChunks
	l.cursor = align(l.cursor, chunkSize) + chunks.count*chunkSize
	return nil
}

// placeBlocks gives whole blocks to directories and links, and then to chunks that need room in the index.
func (l *layout) placeBlocks() {
	l.blocks = align(l.cursor, BlockSize) / BlockSize
	for k := range l.order {
		p := &l.order[k]
		switch {
		case p.size == 0:
		case p.layout == layoutInline:
			p.start = l.blocks
			l.blocks += p.size / BlockSize
		default:
			p.start = l.blocks
			l.blocks += align(p.size, BlockSize) / BlockSize
		}
	}
	for k := range l.order {
		if c := l.order[k].chunks; c != nil {
			c.start = l.blocks
			l.blocks += c.copied << (c.bits - blockBits)
		}
		if l.blocks > maxBlocks {
			return // placeDevices refuses this
		}
	}
}

func (l *layout) placeDevices() error {
	next := l.blocks
	for _, d := range l.devices {
		n := align(max(d.Size, 1), BlockSize) / BlockSize
		if d.Size < 0 || next+n > maxBlocks {
			return fmt.Errorf("layers of more than %d GiB in all cannot be indexed", maxBlocks>>(30-blockBits))
		}
		l.table = append(l.table, deviceSlot{blocks: uint32(n), start: uint32(next)})
		next += n
	}
	if next > maxBlocks {
		return fmt.Errorf("index of %d GiB is too large: too many sparse files", l.blocks>>(30-blockBits))
	}
	return nil
}

// nid is the number of an inode that has a place.
func (l *layout) nid(i *Inode) uint64 { return uint64(l.order[i.slot].pos / nidSize) }

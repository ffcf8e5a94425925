package erofs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// Image reads an index and, through it, the files that it places on devices, without mounting anything. It is safe for
// concurrent use if the readers are. It trusts no number that it reads: a damaged index gives errors, never a panic or an endless loop.
type Image struct {
	index   io.ReaderAt
	devices []io.ReaderAt
	super   superblock
	table   []deviceSlot
}

// Limits of what the reader takes into memory at once.
const (
	maxDirBytes  = 1 << 30
	maxLinkBytes = 4096
	maxChunks    = 1 << 27
)

// errDamaged marks what Write would never write.
var errDamaged = errors.New("index is damaged")

// Open reads the superblock of an index. devices are what it was written over, in order; an entry may be nil, and reading
// a file that lies there is then an error.
func Open(index io.ReaderAt, devices []io.ReaderAt) (*Image, error) {
	m := &Image{index: index, devices: devices}
	b, err := m.bytes(superOffset, BlockSize)
	if err != nil {
		return nil, fmt.Errorf("read superblock: %w", err)
	}
	if m.super, err = decodeSuper(b); err != nil {
		return nil, err
	}
	if devices != nil && len(devices) != int(m.super.devices) {
		return nil, fmt.Errorf("open index: made for %d layers, not %d", m.super.devices, len(devices))
	}
	b, err = m.bytes(deviceTableOffset, int(m.super.devices)*slotSize)
	if err != nil {
		return nil, fmt.Errorf("read device table: %w", err)
	}
	for ; len(b) > 0; b = b[slotSize:] {
		m.table = append(m.table, deviceSlot{blocks: binary.LittleEndian.Uint32(b[64:]), start: binary.LittleEndian.Uint32(b[68:])})
	}
	return m, nil
}

// Inodes is how many inodes the index holds: files of all types, hard links counted once.
func (m *Image) Inodes() int64 { return int64(m.super.inodes) }

func (m *Image) bytes(pos int64, n int) ([]byte, error) {
	if pos < 0 || pos > maxBlocks*BlockSize {
		return nil, fmt.Errorf("%w: offset %d", errDamaged, pos)
	}
	b := make([]byte, n)
	if k, err := m.index.ReadAt(b, pos); k < n {
		return nil, fmt.Errorf("read index at %d: %w", pos, orShort(err))
	}
	return b, nil
}

// Root is the number of the root directory.
func (m *Image) Root() uint64 { return uint64(m.super.rootNid) }

// Inode reads an inode by its number. Entries is not filled in: see ReadDir.
func (m *Image) Inode(nid uint64) (*Inode, error) {
	i, _, err := m.inode(nid)
	return i, err
}

// raw is where the parts of an inode lie.
type raw struct {
	disk diskInode
	tail int64 // behind inode and xattrs
}

func (m *Image) inode(nid uint64) (*Inode, raw, error) {
	var r raw
	if nid > maxBlocks*BlockSize/nidSize {
		return nil, r, fmt.Errorf("%w: inode number %d", errDamaged, nid)
	}
	pos := int64(nid) * nidSize
	b, err := m.bytes(pos, inodeSize)
	if err != nil {
		return nil, r, err
	}
	if err := r.disk.decode(b); err != nil {
		return nil, r, fmt.Errorf("inode %d: %w: %w", nid, errDamaged, err)
	}
	r.tail = pos + inodeSize
	d := &r.disk
	i := &Inode{Mode: uint32(d.mode), UID: d.uid, GID: d.gid, Nlink: d.nlink, Sec: int64(d.sec), Nsec: d.nsec}
	if d.xattrCount > 0 {
		n := xattrHeaderSize + (int(d.xattrCount)-1)*4
		if b, err = m.bytes(r.tail, n); err != nil {
			return nil, r, err
		}
		if i.Xattrs, err = decodeXattrs(b); err != nil {
			return nil, r, fmt.Errorf("inode %d: %w", nid, err)
		}
		r.tail += int64(n)
	}
	if d.size > math.MaxInt64/2 {
		return nil, r, fmt.Errorf("inode %d: %w: size %d", nid, errDamaged, d.size)
	}
	if err := m.fill(i, &r); err != nil {
		return nil, r, fmt.Errorf("inode %d: %w", nid, err)
	}
	return i, r, nil
}

// fill sets what depends on the type.
func (m *Image) fill(i *Inode, r *raw) error {
	switch d := &r.disk; i.Mode & ModeType {
	case ModeChar, ModeBlock:
		i.Rdev = d.union
	case ModeSymlink:
		b, err := m.content(r, maxLinkBytes)
		i.Target = string(b)
		return err
	case ModeRegular:
		i.Size = int64(d.size)
		if d.layout == layoutPlain && d.size > 0 {
			i.Device, i.Offset = m.place(int64(d.union))
			return nil
		}
	case ModeDir, ModeFifo, ModeSocket:
	default:
		return fmt.Errorf("%w: mode %#o", errDamaged, i.Mode)
	}
	return nil
}

// place says which device a block lies on, and at which byte.
func (m *Image) place(block int64) (device int, offset int64) {
	for k, d := range m.table {
		if start := int64(d.start); block >= start && block < start+int64(d.blocks) {
			return k + 1, (block - start) * BlockSize
		}
	}
	return 0, block * BlockSize
}

// content reads what the index itself holds of an inode: a directory or link.
func (m *Image) content(r *raw, limit uint64) ([]byte, error) {
	d := &r.disk
	if d.size > limit || d.layout == layoutChunks {
		return nil, fmt.Errorf("%w: %d bytes in layout %d", errDamaged, d.size, d.layout)
	}
	whole := int(d.size)
	if d.layout == layoutInline {
		whole = whole / BlockSize * BlockSize
	}
	// A size that the file does not hold must not be allocated first.
	if whole > BlockSize {
		if _, err := m.bytes(int64(d.union)*BlockSize+int64(whole)-1, 1); err != nil {
			return nil, err
		}
	}
	b, err := m.bytes(int64(d.union)*BlockSize*int64(min(whole, 1)), whole)
	if err != nil || whole == int(d.size) {
		return b, err
	}
	tail, err := m.bytes(r.tail, int(d.size)-whole)
	return append(b, tail...), err
}

func decodeXattrs(b []byte) ([]Xattr, error) {
	if b[4] != 0 {
		return nil, fmt.Errorf("%w: shared xattrs", errDamaged)
	}
	var all []Xattr
	for b = b[xattrHeaderSize:]; len(b) >= xattrEntrySize; {
		name, value := int(b[0]), int(binary.LittleEndian.Uint16(b[2:]))
		size := xattrEntrySize + align(name+value, 4)
		if size > len(b) {
			return nil, fmt.Errorf("%w: xattr of %d bytes", errDamaged, size)
		}
		prefix := ""
		for _, p := range xattrPrefixes {
			if p.index == b[1] {
				prefix = p.prefix
			}
		}
		if prefix == "" {
			return nil, fmt.Errorf("%w: xattr namespace %d", errDamaged, b[1])
		}
		rest := b[xattrEntrySize:]
		all = append(all, Xattr{Name: prefix + string(rest[:name]), Value: string(rest[name : name+value])})
		b = b[size:]
	}
	return all, nil
}

// Entry is a name in a directory, with the number of its inode.
type Entry struct {
	Name string
	Nid  uint64
	Mode uint32 // the type bits
}

// ReadDir reads a directory, without "." and "..", sorted by bytes.
func (m *Image) ReadDir(nid uint64) ([]Entry, error) {
	i, r, err := m.inode(nid)
	if err != nil {
		return nil, err
	}
	if !i.IsDir() {
		return nil, fmt.Errorf("read directory: inode %d is not one", nid)
	}
	b, err := m.content(&r, maxDirBytes)
	if err != nil {
		return nil, fmt.Errorf("read directory %d: %w", nid, err)
	}
	var all []Entry
	for len(b) > 0 {
		n := min(len(b), BlockSize)
		if all, err = decodeDirBlock(all, b[:n]); err != nil {
			return nil, fmt.Errorf("read directory %d: %w", nid, err)
		}
		b = b[n:]
	}
	for k := 1; k < len(all); k++ {
		if all[k-1].Name >= all[k].Name {
			return nil, fmt.Errorf("read directory %d: %w: entries are not sorted", nid, errDamaged)
		}
	}
	return all, nil
}

func decodeDirBlock(all []Entry, b []byte) ([]Entry, error) {
	le := binary.LittleEndian
	if len(b) < direntSize {
		return nil, fmt.Errorf("%w: short directory block", errDamaged)
	}
	n := int(le.Uint16(b[8:])) / direntSize
	if n == 0 || n*direntSize > len(b) {
		return nil, fmt.Errorf("%w: directory block of %d entries", errDamaged, n)
	}
	for k := range n {
		e := b[k*direntSize:]
		begin, end := int(le.Uint16(e[8:])), len(b)
		if k+1 < n {
			end = int(le.Uint16(e[direntSize+8:]))
		}
		if begin < n*direntSize || end <= begin || end > len(b) {
			return nil, fmt.Errorf("%w: directory entry %d", errDamaged, k)
		}
		name := b[begin:end]
		if k+1 == n {
			for len(name) > 0 && name[len(name)-1] == 0 {
				name = name[:len(name)-1]
			}
		}
		if s := string(name); s != "." && s != ".." {
			if err := checkName(s); err != nil {
				return nil, fmt.Errorf("%w: %w", errDamaged, err)
			}
			all = append(all, Entry{Name: s, Nid: le.Uint64(e), Mode: direntMode(e[10])})
		}
	}
	return all, nil
}

func direntMode(kind byte) uint32 {
	for _, mode := range []uint32{ModeRegular, ModeDir, ModeChar, ModeBlock, ModeFifo, ModeSocket, ModeSymlink} {
		if direntType(mode) == kind {
			return mode
		}
	}
	return 0
}

package erofs

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strings"
)

// The on-disk format: names and offsets follow erofs_fs.h. Everything is little-endian.
const (
	superOffset = 1024
	superSize   = 128
	slotSize    = 128 // of the device table
	inodeSize   = 64  // extended inode
	nidSize     = 32  // an inode number counts these from the start of the index
	direntSize  = 12
	chunkSize   = 8 // one entry of a chunk index

	magic = 0xe0f5e1e2

	compatChecksum  = 0x1
	compatMtime     = 0x2
	incompatChunked = 0x4
	incompatDevices = 0x8

	inodeExtended = 1 // bit 0 of i_format; the layout is in bits 1 to 3

	layoutPlain  = 0 // data from start block on
	layoutInline = 2 // whole blocks from start block on, the tail behind the inode
	layoutChunks = 4 // a chunk index behind the inode

	chunkIndexes  = 0x20 // chunk format: entries of 8 bytes; the low five bits are log2(chunk/block)
	chunkBitsMask = 0x1f
	nullAddr      = 0xffffffff // a hole

	maxBlocks     = nullAddr - 1
	maxXattrBytes = xattrHeaderSize + 0xfffe*4 // i_xattr_icount is 16 bits
	maxNameLen    = 255
)

// superblock holds the fields that vary.
type superblock struct {
	rootNid uint16
	inodes  uint64
	blocks  uint32
	devices uint16
}

// deviceTableOffset is where the device table lies: right behind the superblock.
const deviceTableOffset = superOffset + superSize

// encode returns the first bytes of the index, up to the inodes.
func (s superblock) encode(table []deviceSlot) []byte {
	b := make([]byte, headSize(len(table)))
	le := binary.LittleEndian
	sb := b[superOffset:]
	le.PutUint32(sb[0:], magic)
	le.PutUint32(sb[8:], compatChecksum|compatMtime)
	sb[12] = blockBits
	le.PutUint16(sb[14:], s.rootNid)
	le.PutUint64(sb[16:], s.inodes)
	le.PutUint32(sb[36:], s.blocks)
	le.PutUint32(sb[80:], incompatChunked|incompatDevices)
	le.PutUint16(sb[86:], s.devices)
	le.PutUint16(sb[88:], deviceTableOffset/slotSize)
	for i, d := range table {
		slot := b[deviceTableOffset+i*slotSize:]
		le.PutUint32(slot[64:], d.blocks)
		le.PutUint32(slot[68:], d.start)
	}
	le.PutUint32(sb[4:], superChecksum(sb))
	return b
}

// headSize is where the inodes begin: behind the device table, and behind the block that the superblock's checksum covers.
func headSize(devices int) int { return max(deviceTableOffset+devices*slotSize, superOffset+BlockSize) }

// deviceSlot places a device in the block address space that it shares with the index.
type deviceSlot struct{ blocks, start uint32 }

// superChecksum is CRC32C without the final inversion, over one block from the superblock on, its own field taken as zero.
func superChecksum(sb []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	crc := crc32.Update(0, table, sb[:4])
	crc = crc32.Update(crc, table, make([]byte, 4))
	return ^crc32.Update(crc, table, sb[8:BlockSize])
}

func decodeSuper(sb []byte) (superblock, error) {
	le := binary.LittleEndian
	switch {
	case le.Uint32(sb) != magic:
		return superblock{}, fmt.Errorf("read superblock: not an EROFS index")
	case le.Uint32(sb[4:]) != superChecksum(sb):
		return superblock{}, fmt.Errorf("read superblock: wrong checksum")
	case sb[12] != blockBits || sb[13] != 0 || le.Uint32(sb[40:]) != 0 || le.Uint16(sb[88:]) != deviceTableOffset/slotSize,
		le.Uint32(sb[80:]) != incompatChunked|incompatDevices:
		return superblock{}, fmt.Errorf("read superblock: not written by gantry")
	}
	return superblock{
		rootNid: le.Uint16(sb[14:]),
		inodes:  le.Uint64(sb[16:]),
		blocks:  le.Uint32(sb[36:]),
		devices: le.Uint16(sb[86:]),
	}, nil
}

// diskInode is the extended inode.
type diskInode struct {
	layout     uint16
	xattrCount uint16
	mode       uint16
	size       uint64
	union      uint32 // start block, device number or chunk format
	ino        uint32
	uid, gid   uint32
	sec        uint64
	nsec       uint32
	nlink      uint32
}

func (d *diskInode) append(b []byte) []byte {
	le := binary.LittleEndian
	b = le.AppendUint16(b, inodeExtended|d.layout<<1)
	b = le.AppendUint16(b, d.xattrCount)
	b = le.AppendUint16(b, d.mode)
	b = le.AppendUint16(b, 0)
	b = le.AppendUint64(b, d.size)
	b = le.AppendUint32(b, d.union)
	b = le.AppendUint32(b, d.ino)
	b = le.AppendUint32(b, d.uid)
	b = le.AppendUint32(b, d.gid)
	b = le.AppendUint64(b, d.sec)
	b = le.AppendUint32(b, d.nsec)
	b = le.AppendUint32(b, d.nlink)
	return append(b, make([]byte, 16)...)
}

func (d *diskInode) decode(b []byte) error {
	le := binary.LittleEndian
	format := le.Uint16(b)
	d.layout = format >> 1
	if format&1 != inodeExtended || d.layout != layoutPlain && d.layout != layoutInline && d.layout != layoutChunks {
		return fmt.Errorf("inode format %#x is not one that gantry writes", format)
	}
	d.xattrCount = le.Uint16(b[2:])
	d.mode = le.Uint16(b[4:])
	d.size = le.Uint64(b[8:])
	d.union = le.Uint32(b[16:])
	d.ino = le.Uint32(b[20:])
	d.uid = le.Uint32(b[24:])
	d.gid = le.Uint32(b[28:])
	d.sec = le.Uint64(b[32:])
	d.nsec = le.Uint32(b[40:])
	d.nlink = le.Uint32(b[44:])
	return nil
}

// direntType is the file_type of a directory entry, from the type bits of a mode.
func direntType(mode uint32) byte {
	switch mode & ModeType {
	case ModeRegular:
		return 1
	case ModeDir:
		return 2
	case ModeChar:
		return 3
	case ModeBlock:
		return 4
	case ModeFifo:
		return 5
	case ModeSocket:
		return 6
	case ModeSymlink:
		return 7
	}
	return 0
}

const (
	xattrHeaderSize = 12
	xattrEntrySize  = 4
)

// xattrPrefixes are stored as a number. Only these namespaces are written.
var xattrPrefixes = []struct {
	index  byte
	prefix string
}{{1, "user."}, {4, "trusted."}, {6, "security."}}

// splitXattr returns the number of the namespace of a full name, and the rest of the name.
func splitXattr(full string) (index byte, name string, ok bool) {
	for _, p := range xattrPrefixes {
		if name, ok := strings.CutPrefix(full, p.prefix); ok {
			return p.index, name, name != "" && len(name) <= maxNameLen
		}
	}
	return 0, "", false
}

// xattrSize is the room that xattrs take behind an inode.
func xattrSize(xattrs []Xattr) (int, error) {
	if len(xattrs) == 0 {
		return 0, nil
	}
	n := xattrHeaderSize
	for _, x := range xattrs {
		_, name, ok := splitXattr(x.Name)
		if !ok || len(x.Value) > 0xffff {
			return 0, fmt.Errorf("xattr %q of %d bytes cannot be stored", x.Name, len(x.Value))
		}
		n += xattrEntrySize + align(len(name)+len(x.Value), 4)
	}
	if n > maxXattrBytes {
		return 0, fmt.Errorf("xattrs of %d bytes cannot be stored", n)
	}
	return n, nil
}

func appendXattrs(b []byte, xattrs []Xattr) []byte {
	if len(xattrs) == 0 {
		return b
	}
	b = append(b, make([]byte, xattrHeaderSize)...)
	for _, x := range xattrs {
		index, name, _ := splitXattr(x.Name)
		b = append(b, byte(len(name)), index)
		b = binary.LittleEndian.AppendUint16(b, uint16(len(x.Value)))
		b = append(b, name...)
		b = append(b, x.Value...)
		b = append(b, make([]byte, align(len(name)+len(x.Value), 4)-len(name)-len(x.Value))...)
	}
	return b
}

// xattrCount is i_xattr_icount for xattrs that take size bytes.
func xattrCount(size int) uint16 {
	if size == 0 {
		return 0
	}
	return uint16(1 + (size-xattrHeaderSize)/4)
}

func align[T int | int64](n, to T) T { return (n + to - 1) / to * to }

// Package erofs writes, reads and mounts the index of an image: an EROFS file system that holds only metadata. The bytes of
// its files stay where they are, in the uncompressed tars of the image's layers, which are the devices of that file system.
//
// It knows the on-disk format (Linux fs/erofs/erofs_fs.h, Documentation/filesystems/erofs.rst) as far as gantry writes it:
// 512-byte blocks, extended inodes, inline directories and symbolic links, inline xattrs, flat files that address devices
// through one block address space (kernel 6.4), and chunk indexes for sparse files. It knows nothing of tars, layers or images.
//
// It never mounts or reads a file system that somebody else built: the reader refuses every feature that Write does not use. (Only tests read
// with it, as the second opinion beside the kernel's.)
//
// Invariant: what Write has written, the kernel and Image read back alike; equal input gives equal bytes.
package erofs

// Inode is one file, of any type. Several directory entries may point at the same Inode: hard links.
type Inode struct {
	Mode   uint32 // type and permissions, as in stat(2)'s st_mode
	UID    uint32
	GID    uint32
	Nlink  uint32 // names of this inode; of a directory, two and one for each subdirectory
	Sec    int64  // mtime
	Nsec   uint32
	Rdev   uint32 // character and block devices: see Mkdev
	Size   int64  // regular files
	Target string // symbolic links
	Xattrs []Xattr

	// A regular file's bytes lie on Device (1 is the first device, 0 the index itself) from byte Offset on, which is a
	// multiple of BlockSize. Where Sparse is not nil they are the bytes of its segments, one after the other.
	Device int
	Offset int64
	Sparse []Segment
	Dirty  bool // what follows in the last block of the data is not zero, and must not show behind the end of the file

	Entries []Dirent // directories: sorted by the bytes of Name, without "." and ".."

	slot int // place in a layout, see layout.known
}

// Dirent is a name in a directory.
type Dirent struct {
	Name  string
	Inode *Inode
}

// Segment is a run of bytes of a sparse file that is stored; what lies between segments reads as zero.
// Segments are sorted, not empty, and do not overlap.
type Segment struct{ Offset, Length int64 }

// Xattr is an extended attribute under its full name, such as "user.comment".
type Xattr struct{ Name, Value string }

// BlockSize is the block size of every index. It is that of tar, so that file data in a tar always begins a block.
const BlockSize = 1 << blockBits

const blockBits = 9

// The type bits of Inode.Mode, as in stat(2).
const (
	ModeType    = 0o170000
	ModeFifo    = 0o010000
	ModeChar    = 0o020000
	ModeDir     = 0o040000
	ModeBlock   = 0o060000
	ModeRegular = 0o100000
	ModeSymlink = 0o120000
	ModeSocket  = 0o140000
)

// IsDir reports whether the inode is a directory.
func (i *Inode) IsDir() bool { return i.Mode&ModeType == ModeDir }

// IsRegular reports whether the inode is a regular file.
func (i *Inode) IsRegular() bool { return i.Mode&ModeType == ModeRegular }

// IsSymlink reports whether the inode is a symbolic link.
func (i *Inode) IsSymlink() bool { return i.Mode&ModeType == ModeSymlink }

// Largest device numbers that Linux can express (MINORBITS in linux/kdev_t.h, new_encode_dev).
const (
	MaxMajor = 1<<12 - 1
	MaxMinor = 1<<20 - 1
)

// Mkdev packs a device number as the kernel stores it on disk (new_encode_dev). Major and minor are within
// MaxMajor and MaxMinor.
func Mkdev(major, minor uint32) uint32 {
	return minor&0xff | major<<8 | (minor&^0xff)<<12
}

// Major is the major number in a Rdev.
func Major(rdev uint32) uint32 { return rdev >> 8 & 0xfff }

// Minor is the minor number in a Rdev.
func Minor(rdev uint32) uint32 { return rdev&0xff | rdev>>12&0xfff00 }

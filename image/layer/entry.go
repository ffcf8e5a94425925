package layer

import (
	"iter"

	"github.com/gantryrun/gantry/image/erofs"
)

// kind is what an entry does.
type kind uint8

const (
	kindDir kind = iota
	kindRegular
	kindSymlink
	kindHardlink
	kindChar
	kindBlock
	kindFifo
	kindWhiteout // removes path from lower layers
	kindOpaque   // removes what is below path from lower layers
	kindEnd      // not a kind
)

var modeTypes = [kindEnd]uint32{
	kindDir: erofs.ModeDir, kindRegular: erofs.ModeRegular, kindSymlink: erofs.ModeSymlink,
	kindChar: erofs.ModeChar, kindBlock: erofs.ModeBlock, kindFifo: erofs.ModeFifo,
}

// entry is one step of unpacking. Its path is clean: components that are not empty, "." or "..", joined by "/"; "" is the root.
type entry struct {
	path   string
	link   string // target of a symlink as it is; of a hardlink, a clean path
	kind   kind
	dirty  bool   // the padding behind the data is not zero
	perm   uint16 // permissions with setuid, setgid, sticky
	uid    uint32
	gid    uint32
	nsec   uint32
	rdev   uint32
	sec    int64
	size   int64 // as the file reads
	offset int64 // of the data in the tar
	extra  *extra
}

// extra is what few entries have.
type extra struct {
	xattrs []erofs.Xattr // sorted by name
	sparse []erofs.Segment
}

// entryList grows in pieces: a slice that grows by copying would need twice the memory for a moment, and a hostile layer has a million
// entries in it.
type entryList struct {
	full [][]entry
	last []entry
}

const entriesAPiece = 1 << 12

func (l *entryList) add(e entry) {
	if len(l.last) == entriesAPiece {
		l.full = append(l.full, l.last)
		l.last = make([]entry, 0, entriesAPiece)
	}
	l.last = append(l.last, e)
}

func (l *entryList) len() int { return len(l.full)*entriesAPiece + len(l.last) }

// all gives the entries in order.
func (l *entryList) all() iter.Seq[*entry] {
	return func(yield func(*entry) bool) {
		for n := range len(l.full) + 1 {
			piece := l.last
			if n < len(l.full) {
				piece = l.full[n]
			}
			for k := range piece {
				if !yield(&piece[k]) {
					return
				}
			}
		}
	}
}

// Package layer is where hostile tars come in, and nowhere else. It reads a layer's tar once, from start to end, into a list of
// what the layer does (Scan); keeps that list in a compact file (Encode, Decode); replays the lists of an image's layers into one
// tree (Merge); and gives that tree to the kernel, as an EROFS index over the tars (WriteErofs) or unpacked into a directory (Unpack).
//
// It knows tar in all the dialects that layers come in, OCI whiteouts, and what unpacking means. It knows nothing of compression,
// digests, registries or where layers are kept, and it never resolves a path of a tar on the host: names are resolved in a tree in
// memory, and Unpack only creates names below directories that it has just made itself.
//
// Invariant: Merge gives exactly the tree that unpacking the layers in order gives, and both backends show that tree. Cost is linear in the
// size of the tars, and memory is bounded by Limits, whatever the tars say.
//
// # What unpacking means
//
// Where GNU tar, umoci and containerd agree, so does Merge; where they do not, it follows umoci:
//   - Names are cleaned by their text ("a/../b" is "b") and never leave the root. An entry for the root itself must be a directory.
//   - A parent that is a symbolic link is followed inside the root, with at most 40 links; what is missing at its end is made. A
//     parent that is neither a directory nor a link is an error.
//   - Missing parents are directories 0755, root:root, of 1970. A directory entry over a directory replaces its attributes and keeps its
//     children. Anything else replaces what was there, and a link in the last place is replaced, never followed.
//   - A hard link shares the inode of what is there at that moment, in this or a lower layer; its own attributes are ignored. A target
//     that is missing, a directory, or what the link itself replaces is an error.
//   - A whiteout removes what lower layers put there, and spares what its own layer has put there before. A character
//     device 0:0 is one too.
package layer

import (
	"errors"
	"fmt"

	"github.com/gantryrun/gantry/image/erofs"
)

// ErrInvalid marks a layer that breaks a rule of tar, OCI or this package, which the text names.
var ErrInvalid = errors.New("invalid layer")

// ErrLimit marks a layer that goes beyond one of Limits, which the text names.
var ErrLimit = errors.New("limit exceeded")

// Limits bounds what one layer may ask for. A field that is zero has its default.
type Limits struct {
	MaxEntries  int   // entries of one tar: 1,048,576
	MaxPAX      int64 // bytes of one extension header (PAX, GNU long name): 1 MiB
	MaxNames    int64 // bytes of all names, link targets and xattrs that are kept: 256 MiB
	MaxSegments int   // segments of all sparse files: 1,048,576
	MaxFileSize int64 // size of one file as it reads, holes included: 1 TiB
}

func (l Limits) withDefaults() Limits {
	defaults := Limits{MaxEntries: 1 << 20, MaxPAX: 1 << 20, MaxNames: 256 << 20, MaxSegments: 1 << 20, MaxFileSize: 1 << 40}
	if l.MaxEntries == 0 {
		l.MaxEntries = defaults.MaxEntries
	}
	if l.MaxPAX == 0 {
		l.MaxPAX = defaults.MaxPAX
	}
	if l.MaxNames == 0 {
		l.MaxNames = defaults.MaxNames
	}
	if l.MaxSegments == 0 {
		l.MaxSegments = defaults.MaxSegments
	}
	if l.MaxFileSize == 0 {
		l.MaxFileSize = defaults.MaxFileSize
	}
	return l
}

// Layer is what one tar does to the tree below it.
type Layer struct {
	Size     int64     // bytes of the tar, to its end of file
	Warnings []Warning // what was dropped or changed, for the user to see
	entries  entryList
}

// Warning is something that Scan dropped or changed. What contains foreign bytes only in quotes.
type Warning struct {
	What  string
	Path  string // of the first entry that it concerns
	Count int    // of entries that it concerns
}

func (w Warning) String() string {
	if w.Count > 1 {
		return fmt.Sprintf("%s: %q and %d more", w.What, w.Path, w.Count-1)
	}
	return fmt.Sprintf("%s: %q", w.What, w.Path)
}

// Entries is how many entries the layer has, whiteouts included.
func (l *Layer) Entries() int { return l.entries.len() }

// maxWarnings bounds how many different warnings a layer keeps; the rest is counted in the last one.
const maxWarnings = 32

func (l *Layer) warn(path, format string, args ...any) {
	what := fmt.Sprintf(format, args...)
	for k := range l.Warnings {
		if w := &l.Warnings[k]; w.What == what || k == maxWarnings-1 {
			w.Count++
			return
		}
	}
	if len(l.Warnings) == maxWarnings-1 {
		what = "more of other kinds"
	}
	l.Warnings = append(l.Warnings, Warning{What: what, Path: path, Count: 1})
}

// TarDevice is a layer's tar as the device of an index. Data is read only for sparse files that the tar does not hold in whole blocks.
type TarDevice = erofs.Device

package layer

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/gantryrun/gantry/image/erofs"
)

// Tree is what unpacking the layers of an image gives.
type Tree struct {
	Root   *erofs.Inode // Device of a regular file is the number of its layer, from 1
	Names  int64        // directory entries
	Inodes int64        // files of all types, hard links counted once, the root included
	Bytes  int64        // of regular files, as they read, hard links counted once
	layers int
}

// settle turns nodes into directory entries, and counts.
func (t *Tree) settle(dir *node) {
	entries := make([]erofs.Dirent, 0, len(dir.kids))
	for name, kid := range dir.kids {
		entries = append(entries, erofs.Dirent{Name: name, Inode: kid.inode})
	}
	slices.SortFunc(entries, func(a, b erofs.Dirent) int { return strings.Compare(a.Name, b.Name) })
	dir.inode.Entries = entries
	t.Names += int64(len(entries))
	for _, e := range entries {
		i := e.Inode
		if i.Nlink++; i.Nlink == 1 {
			t.Inodes++
			t.Bytes += i.Size
		}
		if i.IsDir() {
			i.Nlink = 2
			dir.inode.Nlink++
			t.settle(dir.kids[e.Name])
		}
	}
}

// WriteErofs writes the index of the tree into w, which is empty and positioned at its start. tars are the layers' in the order
// of Merge. A nil error means that the index is complete, but not synced. One tree must not be written twice at one time.
func (t *Tree) WriteErofs(w *os.File, tars []TarDevice) error {
	if len(tars) != t.layers {
		return fmt.Errorf("write index: %d layers, %d tars", t.layers, len(tars))
	}
	return erofs.Write(w, t.Root, tars)
}

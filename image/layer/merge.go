package layer

import (
	"errors"
	"fmt"

	"github.com/gantryrun/gantry/image/erofs"
)

// merger replays layers into a tree of nodes.
type merger struct {
	root  *node
	layer int32 // that is being replayed, from 1
	// The directory of the last entry: entries mostly come one directory after the other. Dropped when a name stops meaning what it meant.
	lastDir  string
	lastNode *node
	steps    int // components followed so far, and bytes of links
	implied  int // directories made that no entry describes
}

// node is a name in the tree. What unpacking does to names and not to files (removing, replacing) it does to nodes.
type node struct {
	inode   *erofs.Inode
	parent  *node
	name    string
	kids    map[string]*node
	length  int   // of its path
	touched int32 // last layer with an entry here or below
	pruned  int32 // last layer that hid what lower layers had below
}

// Merge replays layers, lowest first. It changes none of them. A nil error means that the tree is exactly what unpacking them in
// order gives; otherwise the text names the layer, from 1, and the entry.
func Merge(layers []*Layer) (*Tree, error) {
	entries := 0
	for _, l := range layers {
		if entries += l.Entries(); entries > maxEntries {
			return nil, fmt.Errorf("%w: an image of more than %d entries", ErrLimit, maxEntries)
		}
	}
	m := &merger{root: &node{inode: implicitDir()}}
	for k, l := range layers {
		m.layer = int32(k + 1)
		m.lastNode = nil
		for e := range l.entries.all() {
			if err := m.apply(e); err != nil {
				return nil, fmt.Errorf("merge layer %d: entry %q: %w", k+1, shorten(e.path), err)
			}
		}
	}
	t := &Tree{Root: m.root.inode, Inodes: 1, layers: len(layers)}
	t.Root.Nlink = 2
	t.settle(m.root)
	return t, nil
}

// implicitDir is a directory that no tar describes.
func implicitDir() *erofs.Inode { return &erofs.Inode{Mode: erofs.ModeDir | 0o755} }

func (m *merger) apply(e *entry) error {
	dirPath, base := splitPath(e.path)
	switch {
	case e.kind == kindOpaque:
		dirPath, base = e.path, ""
	case e.path == "":
		m.replaceAttributes(m.root, e)
		m.touch(m.root)
		return nil
	}
	hide := e.kind == kindOpaque || e.kind == kindWhiteout
	dir, err := m.directory(dirPath, !hide)
	if err != nil {
		return err
	}
	if hide {
		m.hide(dir, base, e.kind == kindOpaque)
		return nil
	}
	return m.put(dir, base, e)
}

// put makes or replaces the name base in dir.
func (m *merger) put(dir *node, base string, e *entry) error {
	old := dir.kids[base]
	if e.kind == kindDir && old != nil && old.inode.IsDir() {
		m.replaceAttributes(old, e)
		m.touch(old)
		return nil
	}
	if e.kind == kindHardlink {
		return m.putLink(dir, base, e)
	}
	n, err := m.add(dir, base, m.newInode(e))
	if err == nil {
		m.touch(n)
	}
	return err
}

// putLink makes base another name of the inode that the target names now.
func (m *merger) putLink(dir *node, base string, e *entry) error {
	targetPath, targetBase := splitPath(e.link)
	// lastDir must not change: the target's directory is another one.
	targetDir, missing, err := m.walk(targetPath)
	if err != nil {
		return err
	}
	var target *node
	if len(missing) == 0 {
		target = targetDir.kids[targetBase]
	}
	switch {
	case target == nil:
		return fmt.Errorf("%w: target %q of hard link is missing", ErrInvalid, shorten(e.link))
	case target.inode.IsDir():
		return fmt.Errorf("%w: target %q of hard link is a directory", ErrInvalid, shorten(e.link))
	case within(target, dir.kids[base]):
		return fmt.Errorf("%w: hard link replaces its target %q", ErrInvalid, shorten(e.link))
	}
	n, err := m.add(dir, base, target.inode)
	if err == nil {
		m.touch(n)
	}
	return err
}

// within reports whether n is dir, which may be nil, or lies below it.
func within(n, dir *node) bool {
	for ; n != nil && dir != nil; n = n.parent {
		if n == dir {
			return true
		}
	}
	return false
}

// add puts a name into a directory, whatever it meant before.
func (m *merger) add(dir *node, base string, inode *erofs.Inode) (*node, error) {
	n := &node{inode: inode, parent: dir, name: base, length: dir.length + 1 + len(base), touched: m.layer}
	// A path of a tar is shorter than PATH_MAX, but one that goes through links may end deeper and deeper.
	if n.length > maxPath+1 {
		return nil, fmt.Errorf("%w: path is longer than %d bytes", ErrInvalid, maxPath)
	}
	if dir.kids == nil {
		dir.kids = make(map[string]*node)
	} else if _, replaced := dir.kids[base]; replaced {
		m.lastNode = nil
	}
	dir.kids[base] = n
	return n, nil
}

// touch marks a node and all above it as changed by this layer.
func (m *merger) touch(n *node) {
	// What is above a touched node is touched, but add marks its node before its parents are.
	n.touched = m.layer
	for n = n.parent; n != nil && n.touched != m.layer; n = n.parent {
		n.touched = m.layer
	}
}

// hide removes what lower layers have at base in dir, or, where opaque, below dir. What this layer has put there stays.
func (m *merger) hide(dir *node, base string, opaque bool) {
	target := dir
	if !opaque {
		if dir != nil {
			target = dir.kids[base]
		}
		if target == nil {
			return
		}
		if target.touched != m.layer {
			delete(dir.kids, base)
			m.lastNode = nil
			return
		}
	}
	if target != nil {
		m.prune(target)
	}
}

// prune removes what this layer has not touched below n. Once is enough in each layer, for whatever comes later is touched: so
// a thousand whiteouts of one directory cost no more than one.
func (m *merger) prune(n *node) {
	if n.pruned == m.layer {
		return
	}
	n.pruned = m.layer
	for name, kid := range n.kids {
		if kid.touched != m.layer {
			delete(n.kids, name)
			m.lastNode = nil
		} else {
			m.prune(kid)
		}
	}
}

// directory finds the directory of a clean path. What is missing is made, or, without create, gives nil.
func (m *merger) directory(path string, create bool) (*node, error) {
	if m.lastNode != nil && path == m.lastDir {
		return m.lastNode, nil
	}
	n, missing, err := m.walk(path)
	switch {
	case !create && (len(missing) > 0 || errors.Is(err, errNotDirectory)):
		return nil, nil
	case err != nil:
		return nil, err
	}
	if m.implied += len(missing); m.implied > maxImplied {
		return nil, fmt.Errorf("%w: more than %d directories that have no entry", ErrLimit, maxImplied)
	}
	for _, name := range missing {
		if n, err = m.add(n, name, implicitDir()); err != nil {
			return nil, err
		}
		m.touch(n)
	}
	m.lastDir, m.lastNode = path, n
	return n, nil
}

func (m *merger) replaceAttributes(n *node, e *entry) { n.inode = m.newInode(e) }

// newInode makes the inode that an entry describes.
func (m *merger) newInode(e *entry) *erofs.Inode {
	i := &erofs.Inode{
		Mode: modeTypes[e.kind] | uint32(e.perm), UID: e.uid, GID: e.gid,
		Sec: e.sec, Nsec: e.nsec, Rdev: e.rdev,
	}
	switch e.kind {
	case kindSymlink:
		i.Target = e.link
	case kindRegular:
		i.Size = e.size
		if e.size > 0 {
			i.Device, i.Offset, i.Dirty = int(m.layer), e.offset, e.dirty
		}
	}
	if e.extra != nil {
		i.Xattrs, i.Sparse = e.extra.xattrs, e.extra.sparse
	}
	return i
}

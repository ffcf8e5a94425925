package erofs

import "encoding/binary"

// A directory is a row of blocks, each of which begins with its entries (12 bytes each) and ends with their names; only the
// last block may be shorter. Names are sorted over the whole directory, "." and ".." among them, by bytes.

// dirRun calls block for the entries of each block of a directory, in order.
func dirRun(dir *Inode, block func(names []Dirent, used int)) {
	names := withDots(dir)
	begin, used := 0, 0
	for k, e := range names {
		need := direntSize + len(e.Name)
		if used+need > BlockSize {
			block(names[begin:k], used)
			begin, used = k, 0
		}
		used += need
	}
	block(names[begin:], used)
}

// dirSize is the size of a directory as stored.
func dirSize(dir *Inode) int64 {
	// The two entries of 15 bytes in all that withDots adds: most directories fit one block, whatever the order.
	one := 2*direntSize + len(".") + len("..")
	for _, e := range dir.Entries {
		if one += direntSize + len(e.Name); one > BlockSize {
			break
		}
	}
	if one <= BlockSize {
		return int64(one)
	}
	blocks, last := int64(-1), 0
	dirRun(dir, func(_ []Dirent, used int) { blocks, last = blocks+1, used })
	return blocks*BlockSize + int64(last)
}

// withDots returns the entries with "." and ".." in their places. Their inodes are nil.
func withDots(dir *Inode) []Dirent {
	all := make([]Dirent, 0, len(dir.Entries)+2)
	dots := []string{".", ".."}
	for _, e := range dir.Entries {
		for len(dots) > 0 && dots[0] < e.Name {
			all = append(all, Dirent{Name: dots[0]})
			dots = dots[1:]
		}
		all = append(all, e)
	}
	for _, d := range dots {
		all = append(all, Dirent{Name: d})
	}
	return all
}

// appendDir appends the blocks of a directory; all but the last are padded.
func (l *layout) appendDir(b []byte, p *placed) []byte {
	le := binary.LittleEndian
	first := true
	dirRun(p.inode, func(names []Dirent, _ int) {
		if !first {
			b = append(b, make([]byte, align(len(b), BlockSize)-len(b))...)
		}
		first = false
		at := len(names) * direntSize
		for _, e := range names {
			i := e.Inode
			switch {
			case i != nil:
			case e.Name == ".":
				i = p.inode
			default:
				i = p.parent
			}
			b = le.AppendUint64(b, l.nid(i))
			b = le.AppendUint16(b, uint16(at))
			b = append(b, direntType(i.Mode), 0)
			at += len(e.Name)
		}
		for _, e := range names {
			b = append(b, e.Name...)
		}
	})
	return b
}

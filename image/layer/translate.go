package layer

import (
	"fmt"
	"math"

	"github.com/gantryrun/gantry/image/erofs"
)

// translate makes an entry of a header, or nil for what is skipped, and says how many bytes of data follow.
func (s *scanner) translate(h *header) (e *entry, size int64, err error) {
	if h.name == "" {
		return nil, 0, fmt.Errorf("%w: no name", ErrInvalid)
	}
	path, err := cleanPath(h.name)
	if err != nil {
		return nil, 0, err
	}
	k, err := kindOf(h)
	if err != nil {
		return nil, 0, err
	}
	if size, err = dataSize(h, k); err != nil {
		return nil, 0, err
	}
	switch m, about, err := whiteout(path); {
	case err != nil:
		return nil, 0, err
	case m == markWhiteout:
		return &entry{path: about, kind: kindWhiteout}, size, nil
	case m == markOpaque:
		return &entry{path: about, kind: kindOpaque}, size, nil
	case m == markAufs:
		s.layer.warn(path, "file of aufs skipped")
		return nil, size, nil
	}
	if path == "" && k != kindDir {
		return nil, 0, fmt.Errorf("%w: the root is not a directory", ErrInvalid)
	}
	e = &entry{path: path, kind: k}
	if k == kindHardlink {
		e.link, err = cleanPath(h.link)
		if err == nil && e.link == "" {
			err = fmt.Errorf("%w: hard link to %q", ErrInvalid, shorten(h.link))
		}
		if s.marks[e.link] {
			s.overlayWhiteout(e)
		}
		return e, size, err
	}
	return e, size, s.attributes(e, h)
}

// attributes fills in everything but path and kind.
func (s *scanner) attributes(e *entry, h *header) error {
	if h.uid < 0 || h.uid >= math.MaxUint32 || h.gid < 0 || h.gid >= math.MaxUint32 {
		return fmt.Errorf("%w: owner %d:%d", ErrInvalid, h.uid, h.gid)
	}
	if h.mode < 0 {
		return fmt.Errorf("%w: mode %d", ErrInvalid, h.mode)
	}
	e.perm = uint16(h.mode & 0o7777)
	e.uid, e.gid = uint32(h.uid), uint32(h.gid)
	e.sec, e.nsec = s.clampTime(e.path, h.sec, h.nsec)
	var sparse []erofs.Segment
	switch e.kind {
	case kindRegular:
		e.size = h.size
		if h.sparse != nil {
			e.size = h.sparse.size
			sparse = h.sparse.compact()
		}
		if e.size > s.lim.MaxFileSize {
			return fmt.Errorf("%w: file of %d bytes, MaxFileSize is %d", ErrLimit, e.size, s.lim.MaxFileSize)
		}
	case kindSymlink:
		if h.link == "" || len(h.link) > maxPath || hasNUL(h.link) {
			return fmt.Errorf("%w: symbolic link to %q", ErrInvalid, shorten(h.link))
		}
		e.link = h.link
	case kindChar, kindBlock:
		if h.major < 0 || h.major > erofs.MaxMajor || h.minor < 0 || h.minor > erofs.MaxMinor {
			return fmt.Errorf("%w: device number %d:%d", ErrInvalid, h.major, h.minor)
		}
		e.rdev = erofs.Mkdev(uint32(h.major), uint32(h.minor))
		if e.kind == kindChar && e.rdev == 0 {
			s.overlayWhiteout(e)
			return nil
		}
	}
	xattrs, err := s.keepXattrs(e.path, e.kind, h.xattrs)
	if err != nil {
		return err
	}
	if xattrs != nil || sparse != nil {
		e.extra = &extra{xattrs: xattrs, sparse: sparse}
	}
	return nil
}

// overlayWhiteout makes a whiteout of character device 0:0, which is overlayfs's own, and of hard links to it. There is nothing else to
// be had: over such a device in a layer, overlayfs says that there is no such file, and yet lists it. Images have them that hold
// the storage of a container engine.
func (s *scanner) overlayWhiteout(e *entry) {
	s.layer.warn(e.path, "character device 0:0 taken for the whiteout that it is to overlayfs")
	if s.marks == nil {
		s.marks = make(map[string]bool)
	}
	s.marks[e.path] = true
	*e = entry{path: e.path, kind: kindWhiteout}
}

// Times that ext4 can store (EXT4_TIMESTAMP_MIN, EXT4_EXTRA_TIMESTAMP_MAX), so that both backends show the same.
const (
	minTime = math.MinInt32
	maxTime = 1<<34 - 1 + math.MinInt32
)

func (s *scanner) clampTime(path string, sec int64, nsec uint32) (int64, uint32) {
	switch {
	case sec < minTime:
		s.layer.warn(path, "modification time before 1901 raised")
		return minTime, 0
	case sec > maxTime:
		s.layer.warn(path, "modification time after 2446 lowered")
		return maxTime, 0
	}
	return sec, nsec
}

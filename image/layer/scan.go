package layer

import (
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/gantryrun/gantry/image/erofs"
)

// Scan reads an uncompressed tar to its end of file, which may lie behind the end that the archive itself marks, so that whoever hashes the
// stream has hashed all of it. It keeps no file content. An error leaves r somewhere in the stream: the layer is not to be used.
// Errors are ErrInvalid, ErrLimit, io.ErrUnexpectedEOF for a tar that is cut off, or those of r.
func Scan(r io.Reader, lim Limits) (*Layer, error) {
	s := &scanner{src: newSource(r), lim: lim.withDefaults(), layer: &Layer{}}
	for {
		at := s.src.pos
		more, err := s.next()
		if err != nil {
			return nil, fmt.Errorf("read tar at byte %d: %w", at, err)
		}
		if !more {
			break
		}
	}
	zero, err := s.src.drain()
	if err != nil {
		return nil, fmt.Errorf("read tar behind its end: %w", err)
	}
	if !zero {
		s.layer.warn("", "data behind the end of the archive ignored")
	}
	s.layer.Size = s.src.pos
	return s.layer, nil
}

// scanner holds what has been read of one tar.
type scanner struct {
	src      *source
	lim      Limits
	layer    *Layer
	names    int64 // bytes of names kept
	segments int   // of sparse files
	// Extension headers that wait for their entry.
	pax                *pax
	longName, longLink string
	pending            bool
}

// next reads one header with what follows it. It returns false at the end of the archive.
func (s *scanner) next() (bool, error) {
	block, err := s.src.block()
	if errors.Is(err, errEnd) {
		return false, s.endOfArchive()
	} else if err != nil {
		return false, err
	}
	if isZero(block) {
		block, err = s.src.block()
		switch {
		case errors.Is(err, errEnd):
		case err != nil:
			return false, err
		case !isZero(block):
			return false, fmt.Errorf("%w: a lone zero block", ErrInvalid)
		}
		return false, s.endOfArchive()
	}
	h, err := parseHeader(block)
	if err != nil {
		return false, err
	}
	if h.size < 0 {
		return false, fmt.Errorf("%w: size of %q is %d", ErrInvalid, shorten(h.name), h.size)
	}
	switch h.typeflag {
	case 'x', 'g', 'L', 'K':
		return true, s.extension(&h)
	}
	if err := s.entry(&h, block); err != nil {
		return false, fmt.Errorf("entry %q: %w", shorten(h.name), err)
	}
	s.pax, s.longName, s.longLink, s.pending = nil, "", "", false
	return true, nil
}

func (s *scanner) endOfArchive() error {
	if s.pending {
		return fmt.Errorf("%w: archive ends behind an extension header", ErrInvalid)
	}
	return nil
}

// extension reads a header that says something about the next entry.
func (s *scanner) extension(h *header) error {
	if h.size > s.lim.MaxPAX {
		return fmt.Errorf("%w: extension header of %d bytes, MaxPAX is %d", ErrLimit, h.size, s.lim.MaxPAX)
	}
	b, err := s.src.bytes(h.size)
	if err != nil {
		return err
	}
	switch h.typeflag {
	case 'g':
		ignored, err := checkGlobal(b)
		if ignored != "" {
			s.layer.warn("", "global PAX record %q ignored", ignored)
		}
		return err
	case 'x':
		if s.pax != nil {
			return fmt.Errorf("%w: two PAX headers for one entry", ErrInvalid)
		}
		s.pax, err = parsePAX(b)
	case 'L':
		s.longName = cString(b)
	case 'K':
		s.longLink = cString(b)
	}
	s.pending = true
	return err
}

// entry reads what belongs to a header, and passes over its data.
func (s *scanner) entry(h *header, block []byte) error {
	if err := s.extend(h); err != nil {
		return err
	}
	if err := s.readSparse(h, block, s.pax); err != nil {
		return err
	}
	e, size, err := s.translate(h)
	if err != nil {
		return err
	}
	offset := s.src.pos
	if err := s.src.skip(size); err != nil {
		return err
	}
	zero, err := s.src.pad()
	if err != nil || e == nil {
		return err
	}
	if e.size > 0 {
		e.offset, e.dirty = offset, !zero
	}
	return s.keep(*e)
}

// extend applies the extension headers.
func (s *scanner) extend(h *header) error {
	if s.longName != "" {
		h.name = s.longName
	}
	if s.longLink != "" {
		h.link = s.longLink
	}
	if s.pax == nil {
		return nil
	}
	// GNU tar and Go disagree on which of the two wins.
	if s.longName != "" && s.pax.path != "" && s.longName != s.pax.path ||
		s.longLink != "" && s.pax.linkpath != "" && s.longLink != s.pax.linkpath {
		return fmt.Errorf("%w: a GNU and a PAX header give it different names", ErrInvalid)
	}
	return s.pax.apply(h)
}

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
			s.layer.warn(e.path, "character device 0:0 is hidden in pods: overlayfs takes it for a whiteout")
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

// keep appends an entry, within the limits.
func (s *scanner) keep(e entry) error {
	s.names += int64(len(e.path) + len(e.link))
	if e.extra != nil {
		for _, x := range e.extra.xattrs {
			s.names += int64(len(x.Name) + len(x.Value))
		}
	}
	if s.names > s.lim.MaxNames {
		return fmt.Errorf("%w: names of more than MaxNames (%d) bytes", ErrLimit, s.lim.MaxNames)
	}
	if s.layer.entries.len() >= s.lim.MaxEntries {
		return fmt.Errorf("%w: more than MaxEntries (%d) entries", ErrLimit, s.lim.MaxEntries)
	}
	s.layer.entries.add(e)
	return nil
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

var zeroBlock [blockSize]byte

func isZero(b []byte) bool { return [blockSize]byte(b) == zeroBlock }

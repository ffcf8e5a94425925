package layer

import (
	"errors"
	"fmt"
	"io"
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
	names    int64           // bytes of names kept
	segments int             // of sparse files
	marks    map[string]bool // paths of overlayfs's whiteouts
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
	if e.kind != kindWhiteout {
		delete(s.marks, e.path)
	}
	s.layer.entries.add(e)
	return nil
}

var zeroBlock [blockSize]byte

func isZero(b []byte) bool { return [blockSize]byte(b) == zeroBlock }

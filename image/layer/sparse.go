package layer

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/gantryrun/gantry/image/erofs"
)

// sparseMap is a sparse file's: its size as it reads, and the segments that are stored, back to back, behind the header.
type sparseMap struct {
	size     int64
	segments []erofs.Segment
}

// add appends a segment. Empty ones are left out: GNU tar ends a map with one.
func (m *sparseMap) add(offset, length int64, s *scanner) error {
	if offset < 0 || length < 0 || length > m.size-offset {
		return fmt.Errorf("%w: sparse segment of %d bytes at %d of %d", ErrInvalid, length, offset, m.size)
	}
	if length == 0 {
		return nil
	}
	if n := len(m.segments); n > 0 && offset < m.segments[n-1].Offset+m.segments[n-1].Length {
		return fmt.Errorf("%w: sparse segments overlap at %d", ErrInvalid, offset)
	}
	if s.segments++; s.segments > s.lim.MaxSegments {
		return fmt.Errorf("%w: more than MaxSegments (%d) segments of sparse files", ErrLimit, s.lim.MaxSegments)
	}
	m.segments = append(m.segments, erofs.Segment{Offset: offset, Length: length})
	return nil
}

// readSparse finds out whether h is a sparse file, and reads its map, which may go on behind the header.
func (s *scanner) readSparse(h *header, block []byte, p *pax) error {
	var m *sparseMap
	var err error
	switch {
	case h.typeflag == 'S' && h.gnu:
		m, err = s.readOldSparse(block)
	case h.typeflag == 'S':
		err = fmt.Errorf("%w: sparse file outside of the GNU format", ErrInvalid)
	case p == nil || h.typeflag != '0' && h.typeflag != 0 && h.typeflag != '7':
		return nil
	case p.sparseMajor == "1" && p.sparseMinor == "0":
		m, err = s.readSparseInData(h, p)
	case p.sparseMap != "" || len(p.sparsePairs) > 0:
		m, err = s.readSparseRecords(p)
	case p.sparseMajor != "" && p.sparseMajor != "0":
		err = fmt.Errorf("%w: sparse format %q.%q", ErrInvalid, p.sparseMajor, p.sparseMinor)
	default:
		return nil
	}
	if err != nil {
		return fmt.Errorf("read sparse map: %w", err)
	}
	if p != nil && p.sparseName != "" {
		h.name = p.sparseName
	}
	stored := int64(0)
	for _, seg := range m.segments {
		stored += seg.Length
	}
	if stored != h.size {
		return fmt.Errorf("%w: sparse file stores %d bytes, its map says %d", ErrInvalid, h.size, stored)
	}
	h.sparse = m
	return nil
}

// readOldSparse reads GNU's first format: four segments in the header, then blocks of 21.
func (s *scanner) readOldSparse(block []byte) (*sparseMap, error) {
	p := fieldParser{block: block}
	m := &sparseMap{size: p.number("real size", 483, 12)}
	if p.err != nil {
		return nil, p.err
	}
	table, more := block[386:386+4*24], block[482] != 0
	for {
		for ; len(table) >= 24 && table[0] != 0; table = table[24:] {
			offset, ok1 := parseNumber(table[:12])
			length, ok2 := parseNumber(table[12:24])
			if !ok1 || !ok2 {
				return nil, fmt.Errorf("%w: sparse segment %q", ErrInvalid, table[:24])
			}
			if err := m.add(offset, length, s); err != nil {
				return nil, err
			}
		}
		if !more {
			return m, nil
		}
		b, err := s.src.block()
		if err != nil {
			return nil, cutOff(err)
		}
		table, more = b[:21*24], b[504] != 0
	}
}

// readSparseRecords reads formats 0.0 and 0.1: the map is in PAX records.
func (s *scanner) readSparseRecords(p *pax) (*sparseMap, error) {
	numbers := p.sparsePairs
	if p.sparseMap != "" {
		// Cut into at most what may be kept: a record of MaxPAX commas would be a slice of strings otherwise.
		numbers = strings.SplitN(p.sparseMap, ",", 2*(s.lim.MaxSegments+1))
	}
	m, err := newSparseMap(p)
	if err != nil {
		return nil, err
	}
	if len(numbers)%2 != 0 {
		return nil, fmt.Errorf("%w: sparse map of %d numbers", ErrInvalid, len(numbers))
	}
	if count, ok := parseDecimal(p.sparseBlocks); !ok || count != int64(len(numbers)/2) {
		return nil, fmt.Errorf("%w: sparse map of %d segments says %q", ErrInvalid, len(numbers)/2, p.sparseBlocks)
	}
	for ; len(numbers) > 0; numbers = numbers[2:] {
		offset, ok1 := parseDecimal(numbers[0])
		length, ok2 := parseDecimal(numbers[1])
		if !ok1 || !ok2 {
			return nil, fmt.Errorf("%w: sparse segment %q, %q", ErrInvalid, numbers[0], numbers[1])
		}
		if err := m.add(offset, length, s); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func newSparseMap(p *pax) (*sparseMap, error) {
	size := p.sparseReal
	if size == "" {
		size = p.sparseSize
	}
	n, ok := parseDecimal(size)
	if !ok || n < 0 {
		return nil, fmt.Errorf("%w: size of sparse file is %q", ErrInvalid, size)
	}
	return &sparseMap{size: n}, nil
}

// readSparseInData reads format 1.0: decimal lines at the start of the data (the count, then offset and length each), padded to a
// block. What they take is no part of the file: h.size shrinks.
func (s *scanner) readSparseInData(h *header, p *pax) (*sparseMap, error) {
	m, err := newSparseMap(p)
	if err != nil {
		return nil, err
	}
	var rest []byte
	line := func() (int64, error) {
		for {
			if text, after, ok := bytes.Cut(rest, []byte{'\n'}); ok {
				v, ok := parseDecimal(string(text))
				if !ok || v < 0 {
					return 0, fmt.Errorf("%w: sparse map has a line %q", ErrInvalid, text)
				}
				rest = after
				return v, nil
			}
			if len(rest) > 20 || h.size < blockSize {
				return 0, fmt.Errorf("%w: sparse map does not end", ErrInvalid)
			}
			b, err := s.src.block()
			if err != nil {
				return 0, cutOff(err)
			}
			h.size -= blockSize
			rest = append(bytes.Clone(rest), b...)
		}
	}
	count, err := line()
	if err != nil {
		return nil, err
	}
	for range count {
		offset, err := line()
		if err != nil {
			return nil, err
		}
		length, err := line()
		if err != nil {
			return nil, err
		}
		if err := m.add(offset, length, s); err != nil {
			return nil, err
		}
	}
	return m, nil
}

package layer

import (
	"bytes"
	"errors"
	"io"
)

const blockSize = 512

// source reads a tar in blocks and knows at which byte it is. The buffer is large because whoever hashes and stores the
// stream (an io.TeeReader) works in units of what is asked for here, and because file data is only skipped.
type source struct {
	r      io.Reader
	buf    []byte
	rd, wr int   // what is buffered: buf[rd:wr]
	pos    int64 // in the stream, of buf[rd]
	err    error // of the reader
}

func newSource(r io.Reader) *source {
	return &source{r: r, buf: make([]byte, 512<<10)}
}

// errEnd is the end of the stream. Only io.EOF itself says so: a reader that verifies what it reads may wrap io.EOF in what it has to
// say about a stream that is cut off.
var errEnd = errors.New("end of stream")

// fill reads until n bytes are buffered, n <= len(buf). It gives errEnd if there are none and io.ErrUnexpectedEOF if there are fewer.
func (s *source) fill(n int) error {
	if s.rd == s.wr {
		s.rd, s.wr = 0, 0
	} else if s.rd+n > len(s.buf) {
		s.wr = copy(s.buf, s.buf[s.rd:s.wr])
		s.rd = 0
	}
	for empty := 0; s.wr-s.rd < n && s.err == nil; {
		var got int
		got, s.err = s.r.Read(s.buf[s.wr:])
		s.wr += got
		if empty++; got > 0 {
			empty = 0
		} else if empty > 100 && s.err == nil {
			s.err = io.ErrNoProgress
		}
	}
	switch {
	case s.wr-s.rd >= n: // an error that came with the last bytes is for the next call
		return nil
	case s.err != io.EOF: //nolint:errorlint // see errEnd
		return s.err
	case s.wr == s.rd:
		return errEnd
	}
	return io.ErrUnexpectedEOF
}

// block returns the next 512 bytes, which stay valid until the next call.
func (s *source) block() ([]byte, error) {
	if s.wr-s.rd < blockSize {
		if err := s.fill(blockSize); err != nil {
			return nil, err
		}
	}
	b := s.buf[s.rd : s.rd+blockSize]
	s.rd += blockSize
	s.pos += blockSize
	return b, nil
}

// bytes returns a copy of the next n bytes and skips to the end of their block.
func (s *source) bytes(n int64) ([]byte, error) {
	b := make([]byte, 0, n)
	for int64(len(b)) < n {
		blk, err := s.block()
		if err != nil {
			return nil, cutOff(err)
		}
		b = append(b, blk[:min(blockSize, n-int64(len(b)))]...)
	}
	return b, nil
}

// skip passes over n bytes.
func (s *source) skip(n int64) error {
	for n > 0 {
		if s.rd == s.wr {
			if err := s.fill(1); err != nil {
				return cutOff(err)
			}
		}
		k := int(min(n, int64(s.wr-s.rd)))
		s.rd += k
		s.pos += int64(k)
		n -= int64(k)
	}
	return nil
}

// pad passes over what is left of a block, and reports whether it was zero. It may be missing at the end of the file.
func (s *source) pad() (zero bool, err error) {
	zero = true
	for left := int(-s.pos & (blockSize - 1)); left > 0; {
		if s.rd == s.wr {
			if err := s.fill(1); errors.Is(err, errEnd) {
				return zero, nil
			} else if err != nil {
				return zero, err
			}
		}
		k := min(left, s.wr-s.rd)
		zero = zero && bytes.Equal(s.buf[s.rd:s.rd+k], zeroBlock[:k])
		s.rd += k
		s.pos += int64(k)
		left -= k
	}
	return zero, nil
}

// drain reads to the end of the file, and reports whether all of it was zero.
func (s *source) drain() (zero bool, err error) {
	zero = true
	nothing := make([]byte, 32<<10)
	for {
		for s.rd < s.wr {
			k := min(len(nothing), s.wr-s.rd)
			zero = zero && bytes.Equal(s.buf[s.rd:s.rd+k], nothing[:k])
			s.rd += k
			s.pos += int64(k)
		}
		if err := s.fill(1); errors.Is(err, errEnd) {
			return zero, nil
		} else if err != nil {
			return zero, err
		}
	}
}

// cutOff is what the end of the stream is where something must follow.
func cutOff(err error) error {
	if errors.Is(err, errEnd) {
		return io.ErrUnexpectedEOF
	}
	return err
}

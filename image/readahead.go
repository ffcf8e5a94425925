package image

import "io"

// Blocks of a readAhead: enough that decompressing never waits for the hash, and few enough for four layers at once.
const (
	blockSize  = 256 << 10
	blockCount = 3
)

// readAhead reads src in a goroutine of its own, so that decompressing a layer and hashing, scanning and writing it
// use two processors. The blocks go round: next gives back the one before.
type readAhead struct {
	full chan block
	free chan []byte
	quit chan struct{}
	last []byte
	err  error
}

type block struct {
	data []byte
	err  error
}

func newReadAhead(src io.Reader) *readAhead {
	r := &readAhead{full: make(chan block, blockCount), free: make(chan []byte, blockCount), quit: make(chan struct{})}
	for range blockCount {
		r.free <- make([]byte, blockSize)
	}
	go r.run(src)
	return r
}

func (r *readAhead) run(src io.Reader) {
	defer close(r.full)
	for {
		var buf []byte
		select {
		case buf = <-r.free:
		case <-r.quit:
			return
		}
		n, err := readBlock(src, buf[:blockSize])
		r.full <- block{buf[:n], err} // never blocks: there are no more buffers than places
		if err != nil {
			return
		}
	}
}

// readBlock fills buf unless src ends or fails. (io.ReadFull calls a short end ErrUnexpectedEOF, which is also what a
// truncated gzip stream says.)
func readBlock(src io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		var k int
		k, err = src.Read(buf[n:])
		n += k
	}
	return n, err
}

// next returns the next block, valid until the call after. io.EOF at the end.
func (r *readAhead) next() ([]byte, error) {
	if r.last != nil {
		r.free <- r.last
		r.last = nil
	}
	if r.err != nil {
		return nil, r.err
	}
	b, ok := <-r.full
	if !ok {
		return nil, io.ErrClosedPipe
	}
	r.err = b.err
	if len(b.data) == 0 {
		return nil, r.err
	}
	r.last = b.data
	return b.data, nil
}

// stop ends the goroutine, once src's Read returns. It may leave src mid-way.
func (r *readAhead) stop() { close(r.quit) }

package image

import (
	"hash"
	"os"

	"golang.org/x/sys/unix"
)

// flushEvery bytes the kernel is asked to begin writing, so that the disk works while the processor does and the
// final sync has little left.
const flushEvery = 8 << 20

// tarTee gives the bytes of src to the scanner, having hashed and written each block first.
type tarTee struct {
	src     *readAhead
	hash    hash.Hash
	tar     *os.File
	block   []byte
	written int64
	flushed int64
}

func (t *tarTee) Read(p []byte) (int, error) {
	if len(t.block) == 0 {
		block, err := t.src.next()
		if err != nil {
			return 0, err
		}
		if err := t.take(block); err != nil {
			return 0, err
		}
	}
	n := copy(p, t.block)
	t.block = t.block[n:]
	return n, nil
}

func (t *tarTee) take(block []byte) error {
	t.hash.Write(block)
	if _, err := t.tar.Write(block); err != nil {
		return err
	}
	t.block = block
	t.written += int64(len(block))
	if t.written-t.flushed >= flushEvery {
		// A hint: where a file system does not know it, the sync at the end does all the work.
		_ = unix.SyncFileRange(int(t.tar.Fd()), t.flushed, t.written-t.flushed, unix.SYNC_FILE_RANGE_WRITE)
		t.flushed = t.written
	}
	return nil
}

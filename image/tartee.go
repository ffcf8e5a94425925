package image

import (
	"hash"
	"os"

	"golang.org/x/sys/unix"
)

// flushEvery bytes the kernel is asked to begin writing, so that the disk works while the processor does and the
// final sync has little left.
const flushEvery = 8 << 20

// directAlign is enough for every file system that can write past its page cache.
const directAlign = 4096

// pastCache says whether tar is to be written past the page cache: where the mounted image will read
// it so (see takesDirectIO), nobody would use what is cached. That spares a copy, takes no memory from others, and leaves
// the last sync little but metadata. Measured on 6.18, 800 MB: 0.6 s of system time instead of 1.6 s.
func (s *Store) pastCache(tar *os.File) bool {
	backend, _, err := s.Backend()
	return err == nil && backend == Erofs && takesDirectIO([]string{tar.Name()})
}

// tarTee gives the bytes of src to the scanner, having hashed and written each block first.
type tarTee struct {
	src     *readAhead
	hash    hash.Hash
	tar     *os.File
	direct  bool // as long as whole blocks come
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
	if t.direct && len(block)%directAlign != 0 { // the last
		if err := setDirect(t.tar, false); err != nil {
			return err
		}
		t.direct = false
	}
	if _, err := t.tar.Write(block); err != nil {
		return err
	}
	t.block = block
	t.written += int64(len(block))
	if !t.direct && t.written-t.flushed >= flushEvery {
		// A hint: where a file system does not know it, the sync at the end does all the work.
		_ = unix.SyncFileRange(int(t.tar.Fd()), t.flushed, t.written-t.flushed, unix.SYNC_FILE_RANGE_WRITE)
		t.flushed = t.written
	}
	return nil
}

// setDirect has what is written to f go past the page cache, or not.
func setDirect(f *os.File, on bool) error {
	flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0)
	if err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	flags &^= unix.O_DIRECT
	if on {
		flags |= unix.O_DIRECT
	}
	_, err = unix.FcntlInt(f.Fd(), unix.F_SETFL, flags)
	return os.NewSyscallError("fcntl", err)
}

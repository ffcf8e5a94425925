package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Hold keeps GC from taking anything away until release is called: from before Get until what uses the image is
// written where GC's caller will see it. Any number of holders run side by side; one waits only while a GC decides
// (which is short: GC renames under the lock and deletes after it). release may be called more than once.
func (s *Store) Hold() (release func(), err error) {
	return s.lock(context.Background(), unix.LOCK_SH)
}

func (s *Store) lock(ctx context.Context, how int) (release func(), err error) {
	if err := os.MkdirAll(s.imagesDir(), 0o700); err != nil {
		return nil, fmt.Errorf("lock image store: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(s.imagesDir(), ".lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock image store: %w", err)
	}
	if err := flock(ctx, f, how); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock image store: %w", err)
	}
	return func() { f.Close() }, nil
}

// flock locks f, waiting until ctx ends. flock(2), not fcntl: these locks belong to an open file, work on
// directories, and go when the last descriptor does, whoever killed the holder.
func flock(ctx context.Context, f *os.File, how int) error {
	err := flockFd(f, how|unix.LOCK_NB)
	if !errors.Is(err, unix.EWOULDBLOCK) {
		return err
	}
	// A blocked flock cannot be called off; so another goroutine waits, on a duplicate that is its own to close.
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return err
	}
	dup := os.NewFile(uintptr(fd), f.Name())
	done := make(chan error, 1)
	go func() {
		done <- flockFd(dup, how)
		dup.Close()
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// tryLock takes an exclusive lock if nobody has any.
func tryLock(f *os.File) (bool, error) {
	err := flockFd(f, unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}

func flockFd(f *os.File, how int) error {
	for {
		err := unix.Flock(int(f.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

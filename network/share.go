package network

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// shareHost keeps Reset away until release is called: between the moment that Reset looks for leases and the moment
// that the rules are gone, no pod may come that counts on them. Any number of callers share it.
func (h *Host) shareHost() (release func(), err error) {
	return h.lockUse(unix.LOCK_SH)
}

// ownHost keeps every Attach away until release is called. It does not wait: ErrInUse where one is under way.
func (h *Host) ownHost() (release func(), err error) {
	release, err = h.lockUse(unix.LOCK_EX | unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, ErrInUse
	}
	return release, err
}

func (h *Host) lockUse(how int) (release func(), err error) {
	if err := os.MkdirAll(h.runDir(), 0o755); err != nil {
		return nil, fmt.Errorf("make run directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(h.runDir(), "use.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock host: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), how); err != nil {
		return nil, errors.Join(fmt.Errorf("lock host: %w", err), f.Close())
	}
	return func() { _ = f.Close() }, nil
}

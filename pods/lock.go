package pods

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// The lock file carries two open-file-description locks, a byte each.
const (
	lifeByte = 0 // held for writing by the preparer, then by stage1, as long as the pod lives
	gcByte   = 1 // held for writing by who sweeps the pod
)

// Lock is a held lock of a pod. The kernel lets it go when the last descriptor of File is closed, in whichever
// process that was inherited by.
type Lock struct{ file *os.File }

// File returns the descriptor that carries the lock, to hand on to another process.
func (l *Lock) File() *os.File { return l.file }

// Release gives the lock back.
func (l *Lock) Release() error { return l.file.Close() }

func setLock(f *os.File, typ int16, at int64) error {
	lk := unix.Flock_t{Type: typ, Whence: 0, Start: at, Len: 1}
	err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lk)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return ErrBusy
	}
	return err
}

// held asks without disturbing: a read lock would conflict only with a writer.
func held(f *os.File) (bool, error) { return heldAt(int(f.Fd()), lifeByte) }

func heldAt(fd int, at int64) (bool, error) {
	lk := unix.Flock_t{Type: unix.F_RDLCK, Whence: 0, Start: at, Len: 1}
	if err := unix.FcntlFlock(uintptr(fd), unix.F_OFD_GETLK, &lk); err != nil {
		return false, fmt.Errorf("ask for the lock: %w", err)
	}
	return lk.Type != unix.F_UNLCK, nil
}

// lockNew makes the lock file of a new pod and takes its life lock.
func lockNew(root *os.Root) (*Lock, error) {
	f, err := root.OpenFile(lockFile, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	if err := setLock(f, unix.F_WRLCK, lifeByte); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Lock{file: f}, nil
}

func (p *Pod) lock(at int64) (*Lock, error) {
	f, err := p.root.OpenFile(lockFile, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	err = setLock(f, unix.F_WRLCK, at)
	for end := time.Now().Add(waiterPatience); errors.Is(err, ErrBusy) && time.Now().Before(end); {
		if writer, askErr := heldAt(int(f.Fd()), at); writer || askErr != nil {
			break
		}
		time.Sleep(time.Millisecond) //nolint:forbidigo // the kernel would tell of a writer that comes meanwhile, too, and be waiting for that
		err = setLock(f, unix.F_WRLCK, at)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Lock{file: f}, nil
}

// waiterPatience is how long who waited for a lock, and so has it for a moment, for reading, may keep it from who wants it.
const waiterPatience = 10 * time.Second

// MendLock makes the lock file of a pod that has lost it. Nothing takes it away but damage: a pod has it before it has its name. A supervisor that
// still holds the lost one is not seen by it any more: the caller has made sure that there is none.
func (p *Pod) MendLock() error {
	f, err := p.root.OpenFile(lockFile, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return f.Close()
}

// LockLife takes the pod's life; ErrBusy if somebody has it.
func (p *Pod) LockLife() (*Lock, error) { return p.lock(lifeByte) }

// LockGC takes the right to sweep the pod; ErrBusy if somebody has it.
func (p *Pod) LockGC() (*Lock, error) { return p.lock(gcByte) }

// WaitDead returns nil when nobody holds the pod's life lock any more, or ctx's error. It sleeps in the kernel.
// The thread that waits is left behind when ctx ends first: meant for short-lived processes.
func (p *Pod) WaitDead(ctx context.Context) error {
	return p.wait(ctx, lifeByte)
}

// WaitGC returns nil when nobody sweeps the pod any more, as WaitDead does.
func (p *Pod) WaitGC(ctx context.Context) error { return p.wait(ctx, gcByte) }

func (p *Pod) wait(ctx context.Context, at int64) error {
	f, err := p.root.OpenFile(lockFile, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the pod was removed meanwhile
	}
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() {
		lk := unix.Flock_t{Type: unix.F_RDLCK, Whence: 0, Start: at, Len: 1}
		var err error
		for err = unix.EINTR; errors.Is(err, unix.EINTR); {
			err = unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLKW, &lk)
		}
		done <- errors.Join(err, f.Close())
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

package stage1

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// terminal is the master of an app's terminal, which is of the app's own devpts. Of one app in the foreground it is joined to the
// caller's; clients attach to it. The app never gets the caller's: what it could push back into it would be read by the caller's shell.
type terminal struct {
	*tap
	joined bool
	caller *term.State   // of the caller's terminal before; nil: the caller has none
	copied chan struct{} // closed when the app's output is over
}

// openTerminal starts copying, to sinks or, without, to the caller: with its terminal, if it is one, in raw mode, because what the user types
// is the app's to interpret, ^C included. The master must not block.
func openTerminal(master *os.File, sinks []lineWriter) (*terminal, error) {
	tap, err := newTap(master)
	if err != nil {
		return nil, err
	}
	tap.whole = true // of a terminal, some may be on its way
	t := &terminal{tap: tap, joined: sinks == nil, copied: make(chan struct{})}
	if t.joined {
		if err := t.join(); err != nil {
			return nil, err
		}
	}
	go func() { // to EIO, when the last process of the app has closed its side
		defer close(t.copied)
		if t.joined {
			_, _ = io.Copy(os.Stdout, tap)
		} else {
			copyLines(tap, sinks)
		}
		tap.close()
	}()
	return t, nil
}

func (t *terminal) join() error {
	if term.IsTerminal(int(os.Stdin.Fd())) {
		state, err := term.MakeRaw(int(os.Stdin.Fd()))
		if err != nil {
			return err
		}
		t.caller = state
	}
	t.resize()
	go func() { _, _ = io.Copy(t.file, os.Stdin) }() // ends with the process: nothing wakes up a read of a terminal
	return nil
}

// resize gives the app's terminal the size of the caller's.
func (t *terminal) resize() {
	if t == nil || !t.joined {
		return
	}
	size := callerSize()
	if size == nil {
		return
	}
	_ = t.raw.Control(func(fd uintptr) { _ = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, size) }) // the app may be gone
}

// callerSize is the size of the caller's terminal; nil: it has none.
func callerSize() *unix.Winsize {
	size, err := unix.IoctlGetWinsize(int(os.Stdin.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return nil
	}
	return size
}

// wait waits for what the app wrote last. The app must be dead.
func (t *terminal) wait() {
	if t != nil {
		<-t.copied
	}
}

// restore gives the caller's terminal back.
func (t *terminal) restore() error {
	if t == nil || t.caller == nil {
		return nil
	}
	return term.Restore(int(os.Stdin.Fd()), t.caller)
}

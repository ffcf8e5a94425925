package stage1

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// terminal joins the terminal of an app, which is of the app's own devpts, to the caller's. The app never gets the
// caller's: what it could push back into it would be read by the caller's shell.
type terminal struct {
	master *os.File
	caller *term.State // of the caller's terminal before; nil: the caller has none
	copied chan struct{}
}

// openTerminal starts copying, with the caller's terminal, if it is one, in raw mode: what the user types is the app's to
// interpret, ^C included.
func openTerminal(master *os.File) (*terminal, error) {
	t := &terminal{master: master, copied: make(chan struct{})}
	if term.IsTerminal(int(os.Stdin.Fd())) {
		state, err := term.MakeRaw(int(os.Stdin.Fd()))
		if err != nil {
			return nil, err
		}
		t.caller = state
	}
	t.resize()
	go func() { _, _ = io.Copy(master, os.Stdin) }() // ends with the process: nothing wakes up a read of a terminal
	go func() {
		defer close(t.copied)
		_, _ = io.Copy(os.Stdout, master) // EIO when the last process of the app has closed its side
	}()
	return t, nil
}

// resize gives the app's terminal the size of the caller's.
func (t *terminal) resize() {
	if t == nil {
		return
	}
	size, err := unix.IoctlGetWinsize(int(os.Stdin.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return // not a terminal
	}
	_ = unix.IoctlSetWinsize(int(t.master.Fd()), unix.TIOCSWINSZ, size) // the app may be gone
}

// close waits for what the app wrote last, and gives the caller's terminal back. The app must be dead.
func (t *terminal) close() error {
	if t == nil {
		return nil
	}
	<-t.copied
	if t.caller == nil {
		return t.master.Close()
	}
	return term.Restore(int(os.Stdin.Fd()), t.caller)
}

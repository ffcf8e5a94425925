package launch

import (
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// drainTime is how long the output of a command is waited for after its end. The kernel hangs up its terminal then, so
// that it is only used up where a process that the command left behind opened the terminal anew.
const drainTime = time.Second

// runOnTerminal runs process on a terminal of its own, and connects that to the caller's streams.
//
//	caller's terminal, raw ──▶ stdin ──▶ master │ slave ──▶ command's 0, 1, 2
//	                          stdout ◀── master │
func runOnTerminal(container *libcontainer.Container, process *libcontainer.Process, last *lastStep, started func()) (int, error) {
	console, err := newConsole(process)
	if err != nil {
		return 0, err
	}
	defer console.close()
	if size := callerSize(); size != nil {
		process.ConsoleWidth, process.ConsoleHeight = size.Col, size.Row
	}
	signals, resized := make(chan os.Signal, 16), make(chan os.Signal, 1)
	signal.Notify(signals, forwarded...)
	signal.Notify(resized, unix.SIGWINCH)
	defer signal.Stop(signals)
	defer signal.Stop(resized)

	if err := startIn(container, process, last); err != nil {
		return 0, err
	}
	started()
	master, err := console.receive()
	if err != nil {
		return 0, err
	}
	defer master.Close()
	if saved, err := term.MakeRaw(int(os.Stdin.Fd())); err == nil { // else it is no terminal
		defer func() { _ = term.Restore(int(os.Stdin.Fd()), saved) }()
	}
	go forward(process, signals)
	go resize(master, resized)
	go feed(master, os.Stdin)
	drained := make(chan struct{})
	go func() {
		_, _ = io.Copy(os.Stdout, master) // ends with EIO when the slave is hung up
		close(drained)
	}()
	code, err := waitFor(process, 0)
	select {
	case <-drained:
	case <-time.After(drainTime):
	}
	return code, err
}

// feed copies what the caller types. The end of a file is told as a terminal tells it, by its character.
func feed(master io.Writer, stdin io.Reader) {
	const endOfTransmission = 4
	if _, err := io.Copy(master, stdin); err == nil {
		_, _ = master.Write([]byte{endOfTransmission})
	}
}

func resize(master *os.File, resized <-chan os.Signal) {
	for range resized {
		if size := callerSize(); size != nil {
			_ = unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, size) // the terminal may just have gone
		}
	}
}

// callerSize is the size of the caller's terminal; nil where it has none.
func callerSize() *unix.Winsize {
	for _, f := range []*os.File{os.Stdin, os.Stdout, os.Stderr} {
		if size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil {
			return size
		}
	}
	return nil
}

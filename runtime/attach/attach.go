package attach

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// Streams are those of an app: In is written, the others are read to their end. Nil are those that are not attached to.
type Streams struct {
	In       *os.File
	Terminal bool // In is the master of a terminal, and Out its output
	Out, Err *os.File
}

// Options of Join.
type Options struct {
	Stdin, Stdout, Stderr *os.File // the caller's
	Keys                  []byte   // that detach; nil: none do
	// EndInput is called when the caller's stdin has ended; nil: nothing is done then.
	EndInput func() error
	// Over is closed when the pod is.
	Over <-chan struct{}
}

// ErrDetached is what Join returns when it was not the app that ended it.
var ErrDetached = errors.New("detached")

// Join copies until the app's output is over, which is nil, or the caller detaches (ErrDetached) by keys, by a signal, or, where no output
// is attached to, by the end of its own stdin. The caller closes the streams.
func Join(ctx context.Context, s Streams, o Options) error {
	ctx, stop := signal.NotifyContext(ctx, unix.SIGTERM, unix.SIGHUP, unix.SIGINT)
	defer stop()
	j := &joint{Streams: s, Options: o, detached: make(chan error, 1)}
	if s.Terminal {
		restore, err := j.takeTerminal()
		if err != nil {
			return err
		}
		defer restore()
	}
	if s.In != nil {
		go j.feed()
	}
	over := o.Over
	if s.Out != nil || s.Err != nil {
		over = j.copyOutput()
	}
	select {
	case <-over:
		return j.lost
	case err := <-j.detached:
		return err
	case <-ctx.Done():
		return ErrDetached
	}
}

type joint struct {
	Streams
	Options
	detached chan error
	lost     error // of the output; settled when it is over
}

// copyOutput returns what is closed when all of the output is copied.
func (j *joint) copyOutput() <-chan struct{} {
	over := make(chan struct{})
	var wg sync.WaitGroup
	var mu sync.Mutex
	for from, to := range map[*os.File]*os.File{j.Out: j.Stdout, j.Err: j.Stderr} {
		if from == nil {
			continue
		}
		wg.Go(func() {
			if _, err := io.Copy(to, from); err != nil {
				err = errors.New("write output: " + err.Error()) // text alone: a stdout that is full is no data directory that is
				mu.Lock()
				j.lost = errors.Join(j.lost, err)
				mu.Unlock()
				select {
				case j.detached <- err: // whose output goes nowhere is told now, not when the app is over
				default:
				}
			}
		})
	}
	go func() {
		wg.Wait()
		close(over)
	}()
	return over
}

// takeTerminal makes the caller's terminal, if it has one, raw, and the app's as large as it, also later.
func (j *joint) takeTerminal() (restore func(), err error) {
	fd := int(j.Stdin.Fd())
	if !term.IsTerminal(fd) {
		return func() {}, nil
	}
	if j.In == nil {
		return func() {}, nil // only looking on: what is typed is not the app's, and ^C detaches
	}
	state, err := term.MakeRaw(fd)
	if err != nil {
		return nil, fmt.Errorf("make terminal raw: %w", err)
	}
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, unix.SIGWINCH)
	j.resize(fd)
	go func() {
		for range resized {
			j.resize(fd)
		}
	}()
	return func() {
		signal.Stop(resized)
		_ = term.Restore(fd, state)
	}, nil
}

func (j *joint) resize(fd int) {
	size, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ)
	if err != nil {
		return
	}
	if raw, err := j.In.SyscallConn(); err == nil {
		_ = raw.Control(func(in uintptr) { _ = unix.IoctlSetWinsize(int(in), unix.TIOCSWINSZ, size) }) // the app may be gone
	}
}

// waiting is how many reads of a terminal may wait for an app that does not read: more is dropped, as a terminal does, and the detach keys
// work all the same. What is no terminal waits.
const waiting = 64

// feed copies what the caller types or sends, but the detach keys.
func (j *joint) feed() {
	typed := make(chan []byte, waiting)
	written := make(chan error, 1)
	go func() {
		var err error
		for p := range typed {
			if err == nil {
				_, err = j.In.Write(p)
			}
		}
		written <- err
	}()
	if j.read(typed) {
		j.detached <- ErrDetached
		return
	}
	close(typed)
	err := <-written
	if err == nil && j.EndInput != nil {
		err = errors.Join(j.In.Close(), j.EndInput())
	}
	if err != nil && !errors.Is(err, unix.EPIPE) && !errors.Is(err, unix.EIO) { // the app is gone: its output will say so
		j.detached <- fmt.Errorf("write input: %w", err)
	} else if j.Out == nil && j.Err == nil {
		j.detached <- ErrDetached
	}
}

// read reports whether the detach keys ended it.
func (j *joint) read(typed chan<- []byte) bool {
	isTerminal := term.IsTerminal(int(j.Stdin.Fd()))
	d := detector{keys: j.Keys}
	for buf := make([]byte, 32<<10); ; {
		n, err := j.Stdin.Read(buf)
		p, detach := d.filter(append([]byte(nil), buf[:n]...))
		if len(p) > 0 && isTerminal {
			select {
			case typed <- p:
			default:
			}
		} else if len(p) > 0 {
			typed <- p
		}
		if detach || err != nil {
			return detach
		}
	}
}

package stage1

import (
	"bytes"
	"errors"
	"io"
	"os"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// tap is a stream of an app's output that clients can attach to: reading it gives each client a copy. A client gets what its pipe has
// room for, and loses the rest: neither the app nor another client ever waits for one.
type tap struct {
	file *os.File
	raw  syscall.RawConn

	mu      sync.Mutex
	clients []*listener
	ending  bool // the app is over: who listens is let go when all that it wrote is read
	closed  bool
	whole   bool // nobody is let go before the stream is over: what is unread cannot be seen
}

// listener is one client of a tap.
type listener struct {
	pipe int    // its writing end, which never blocks
	lost uint64 // bytes
	gap  bool   // it missed the last of them: it goes on with the next line
	open bool   // a line of it has no end yet
	tell func(lost uint64)
}

// clientPipe is how much a client may be behind. The kernel keeps it, and only while it is.
const clientPipe = 1 << 20

// newTap taps f, which must not block.
func newTap(f *os.File) (*tap, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	return &tap{file: f, raw: raw}, nil
}

// Read reads the stream. What it returns the clients have, or have lost.
func (t *tap) Read(p []byte) (n int, err error) {
	waitErr := t.raw.Read(func(fd uintptr) bool {
		t.mu.Lock()
		defer t.mu.Unlock()
		for err = unix.EINTR; err == unix.EINTR; {
			n, err = unix.Read(int(fd), p)
		}
		if err == unix.EAGAIN {
			return false
		}
		if n > 0 {
			for _, c := range t.clients {
				c.write(p[:n])
			}
		}
		t.settle()
		return true
	})
	switch {
	case waitErr != nil:
		return 0, waitErr
	case err != nil:
		return 0, err
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// write gives the client what it has room for. After a loss it goes on where a line begins.
func (c *listener) write(p []byte) {
	if c.gap {
		end := bytes.IndexByte(p, '\n') + 1
		lost := end
		if c.open && end > 0 {
			lost -= c.put([]byte{'\n'}) // in place of that which it missed
		}
		if end == 0 || c.open {
			c.lost += uint64(len(p))
			return
		}
		c.lost += uint64(lost)
		p, c.gap = p[end:], false
	}
	if missing := len(p) - c.put(p); missing > 0 {
		c.lost += uint64(missing)
		c.gap = true
	}
}

// put returns how much of p went into the pipe. A client that is gone (EPIPE) is found out by its connection.
func (c *listener) put(p []byte) int {
	done := 0
	for done < len(p) {
		n, err := unix.Write(c.pipe, p[done:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			break
		}
		done += n
		c.open = p[done-1] != '\n'
	}
	return done
}

// listen adds a client, and returns the descriptor that it is to read. tell is called when it is let go and has lost something.
func (t *tap) listen(tell func(lost uint64)) (*listener, int, error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return nil, -1, err
	}
	_, _ = unix.FcntlInt(uintptr(p[1]), unix.F_SETPIPE_SZ, clientPipe) // less will do
	if err := unix.SetNonblock(p[1], true); err != nil {
		return nil, -1, errors.Join(err, unix.Close(p[0]), unix.Close(p[1]))
	}
	c := &listener{pipe: p[1], tell: tell}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clients = append(t.clients, c)
	t.settle()
	return c, p[0], nil
}

// leave lets the client go. One that has gone already is no error.
func (t *tap) leave(c *listener) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := slices.Index(t.clients, c); i >= 0 {
		t.clients = slices.Delete(t.clients, i, i+1)
		c.close()
	}
}

func (c *listener) close() {
	if c.lost > 0 {
		c.tell(c.lost)
	}
	_ = unix.Close(c.pipe)
}

// begin and end say that the app runs, and that it is over: who listens at its end gets the last of its output, and is let go.
func (t *tap) begin() { t.setEnding(false) }

func (t *tap) end() { t.setEnding(true) }

func (t *tap) setEnding(ending bool) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ending = ending
	t.settle()
}

// settle lets everybody go when the app is over, and recorded, and nothing of it is unread.
func (t *tap) settle() {
	if !t.ending || len(t.clients) == 0 {
		return
	}
	if !t.closed {
		if t.whole {
			return
		}
		unread := 0
		_ = t.raw.Control(func(fd uintptr) { unread, _ = unix.IoctlGetInt(int(fd), unix.TIOCINQ) })
		if unread > 0 {
			return
		}
	}
	for _, c := range t.clients {
		c.close()
	}
	t.clients = nil
}

// close comes when the stream is over.
func (t *tap) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	t.settle()
	_ = t.file.Close()
}

package launch

import (
	"io"
	"os"
	"os/signal"
	"sync"
	"time"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"
)

// callerStreams are how a command that enters gets the caller's 0, 1 and 2. Those with a name on the host stay ours, and are copied through
// pipes: the command would become their owner, and could open them anew with rights that the descriptor does not have.
type callerStreams struct {
	theirs  []*os.File // the command's ends
	lent    map[*os.File]int
	copiers sync.WaitGroup
}

// give sets the streams of process.
func (c *callerStreams) give(process *libcontainer.Process) error {
	c.lent = map[*os.File]int{}
	signal.Notify(make(chan os.Signal, 1), unix.SIGPIPE) // of the caller's: the command gets one in its turn, we only stop copying
	process.Stdin, process.Stdout, process.Stderr = os.Stdin, os.Stdout, os.Stderr
	if c.isNamed(os.Stdin) {
		r, w, err := os.Pipe()
		if err != nil {
			return err
		}
		c.theirs = append(c.theirs, r)
		process.Stdin = r
		go func() {
			_, _ = io.Copy(w, os.Stdin)
			_ = w.Close()
		}()
	}
	if c.isNamed(os.Stdout) {
		w, err := c.drain(os.Stdout)
		if err != nil {
			return err
		}
		process.Stdout = w
	}
	if !c.isNamed(os.Stderr) {
		return nil
	}
	if sameFile(os.Stdout, os.Stderr) { // one pipe keeps the order
		process.Stderr = process.Stdout
		return nil
	}
	w, err := c.drain(os.Stderr)
	if err != nil {
		return err
	}
	process.Stderr = w
	return nil
}

// isNamed says whether f is something other than an anonymous pipe, a socket, /dev/null or a terminal; of a terminal it remembers the owner.
func (c *callerStreams) isNamed(f *os.File) bool {
	fd := int(f.Fd())
	var st unix.Stat_t
	var fs unix.Statfs_t
	if unix.Fstat(fd, &st) != nil || unix.Fstatfs(fd, &fs) != nil {
		return false
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFSOCK:
		return false
	case unix.S_IFIFO:
		return fs.Type != unix.PIPEFS_MAGIC
	case unix.S_IFCHR:
		if _, err := unix.IoctlGetTermios(fd, unix.TCGETS); err == nil {
			c.lent[f] = int(st.Uid)
			return false
		}
		return st.Rdev != unix.Mkdev(1, 3)
	}
	return true
}

func (c *callerStreams) drain(f *os.File) (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	c.theirs = append(c.theirs, w)
	c.copiers.Go(func() {
		_, _ = io.Copy(f, r)
		_ = r.Close() // where f is full, the command gets SIGPIPE
	})
	return w, nil
}

// started closes what is only the command's, and gives terminals back to their owners: libcontainer gave them to the command's user.
func (c *callerStreams) started() {
	for _, f := range c.theirs {
		_ = f.Close()
	}
	for f, owner := range c.lent {
		_ = f.Chown(owner, -1)
	}
}

// wait waits for the rest of the output, for drainTime where a process that the command left behind keeps a pipe open.
func (c *callerStreams) wait() {
	drained := make(chan struct{})
	go func() {
		c.copiers.Wait()
		close(drained)
	}()
	select {
	case <-drained:
	case <-time.After(drainTime):
	}
}

func sameFile(a, b *os.File) bool {
	one, errA := a.Stat()
	two, errB := b.Stat()
	return errA == nil && errB == nil && os.SameFile(one, two)
}

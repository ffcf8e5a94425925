package launch

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"time"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods/stdio"
)

// callerStreams are how a command that enters gets the caller's 0, 1 and 2. Those with a name on the host stay ours, and are copied through
// pipes: the command would become their owner, and could open them anew with rights that the descriptor does not have.
type callerStreams struct {
	theirs  []*os.File // the command's ends
	lent    map[*os.File]int
	copiers sync.WaitGroup
	mu      sync.Mutex
	lost    error // why output of the command did not get to the caller
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
	if stdio.Same(os.Stdout, os.Stderr) { // one pipe keeps the order
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

// isNamed says whether f has to be copied; of a terminal it remembers the owner. One that nothing can be found out about goes to the
// command, to which it is as useless.
func (c *callerStreams) isNamed(f *os.File) bool {
	kind, owner, err := stdio.Look(f)
	if kind == stdio.Terminal {
		c.lent[f] = owner
	}
	return err == nil && kind == stdio.Named
}

func (c *callerStreams) drain(f *os.File) (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	c.theirs = append(c.theirs, w)
	c.copiers.Go(func() {
		if _, err := io.Copy(f, r); err != nil && !errors.Is(err, unix.EPIPE) { // whoever closed it wants no more
			c.mu.Lock()
			c.lost = errors.Join(c.lost, fmt.Errorf("output is lost: %w", err))
			c.mu.Unlock()
		}
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

// wait waits for the rest of the output, for drainTime where a process that the command left behind keeps a pipe open. It returns why output
// was lost.
func (c *callerStreams) wait() error {
	drained := make(chan struct{})
	go func() {
		c.copiers.Wait()
		close(drained)
	}()
	select {
	case <-drained:
	case <-time.After(drainTime):
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lost
}

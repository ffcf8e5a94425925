package logs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods"
)

// ErrNoApp is an app that the pod does not have.
var ErrNoApp = errors.New("no such app")

// Options of Print. The zero value but for Tail prints everything that is there.
type Options struct {
	Apps         []string // empty: all
	Follow       bool     // until the pod is over
	Tail         int      // only the last lines of what is there; negative: all
	Since, Until time.Time
}

func (o Options) wants(l *Line) bool {
	return (o.Since.IsZero() || !l.Time.Before(o.Since)) && (o.Until.IsZero() || !l.Time.After(o.Until))
}

// Printed is what is done with a line.
type Printed func(app string, l Line) error

// Print calls print with the lines of the pod's apps, in the order of their time, and returns how many there were.
func Print(ctx context.Context, pod *pods.Pod, opts Options, print Printed) (int, error) {
	sources, err := open(pod, opts.Apps)
	if err != nil {
		return 0, err
	}
	defer func() {
		for _, s := range sources {
			s.close()
		}
	}()
	p := &printer{opts: opts, print: print, sources: sources}
	if !opts.Follow {
		err = p.drain(ctx)
		return p.count, errors.Join(err, p.flush())
	}
	err = p.follow(ctx, pod)
	return p.count, err
}

func open(pod *pods.Pod, names []string) ([]*source, error) {
	apps, err := pod.Apps()
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		if !slices.ContainsFunc(apps, func(a *pods.App) bool { return a.Name == n }) {
			return nil, fmt.Errorf("%w: %q of pod %s", ErrNoApp, n, pod.UUID)
		}
	}
	var sources []*source
	for _, a := range apps {
		if len(names) == 0 || slices.Contains(names, a.Name) {
			sources = append(sources, openSource(pod, a.Name))
		}
	}
	return sources, nil
}

type printer struct {
	opts    Options
	print   Printed
	sources []*source
	count   int
	tail    []tailed // the last lines, while only those are wanted
}

type tailed struct {
	app  string
	line Line
}

// drain hands on all that is there, the oldest of all apps first.
func (p *printer) drain(ctx context.Context) error {
	for ctx.Err() == nil {
		var oldest *source
		for _, s := range p.sources {
			l, err := s.peek()
			if err != nil {
				return fmt.Errorf("read log of app %s: %w", s.app, err)
			}
			if l != nil && (oldest == nil || l.Time.Before(oldest.next.Time)) {
				oldest = s
			}
		}
		if oldest == nil {
			return nil
		}
		l := *oldest.next
		oldest.next = nil
		if err := p.take(oldest.app, l); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (p *printer) take(app string, l Line) error {
	if !p.opts.wants(&l) {
		return nil
	}
	p.count++
	if p.opts.Tail < 0 {
		return p.print(app, l)
	}
	p.tail = append(p.tail, tailed{app, l})
	if len(p.tail) > 2*p.opts.Tail+1024 { // now and then, not at every line
		p.tail = slices.Clone(p.tail[len(p.tail)-p.opts.Tail:])
	}
	return nil
}

// flush prints the last lines, and prints all that come after.
func (p *printer) flush() error {
	if p.opts.Tail >= 0 && len(p.tail) > p.opts.Tail {
		p.tail = p.tail[len(p.tail)-p.opts.Tail:]
	}
	for _, t := range p.tail {
		if err := p.print(t.app, t.line); err != nil {
			return err
		}
	}
	p.tail, p.opts.Tail = nil, -1
	return nil
}

// follow goes on until the pod is dead and all that it wrote is printed.
func (p *printer) follow(ctx context.Context, pod *pods.Pod) error {
	if state, err := pod.State(); err != nil || state.Over() || state == pods.Prepared {
		return errors.Join(err, p.drain(ctx), p.flush())
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return fmt.Errorf("watch logs: %w", err)
	}
	w := os.NewFile(uintptr(fd), "inotify")
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_ = pod.WaitDead(ctx)
		_ = w.Close() // wakes the reader
	}()
	buf := make([]byte, 4096)
	for watching := false; ; {
		if !watching {
			watching = addWatch(fd, pod)
		}
		if err := errors.Join(p.drain(ctx), p.flush()); err != nil {
			return err
		}
		if _, err := w.Read(buf); err != nil {
			// The pod is dead, or the caller wants no more: what was written until now is the end.
			return errors.Join(ctx.Err(), p.drain(ctx))
		}
	}
}

// addWatch watches the log directory; until that is there, the pod's own.
func addWatch(fd int, pod *pods.Pod) (done bool) {
	for _, name := range []string{"logs", "."} {
		dir, err := pod.Root().Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return true
		}
		_, err = unix.InotifyAddWatch(fd, fmt.Sprintf("/proc/self/fd/%d", dir.Fd()), unix.IN_MODIFY|unix.IN_CREATE|unix.IN_MOVED_TO)
		_ = dir.Close()
		return name == "logs" || err != nil
	}
	return true
}

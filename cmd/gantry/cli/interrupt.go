package cli

import (
	"context"
	"os"
	"os/signal"
	"slices"

	"golang.org/x/sys/unix"
)

// interrupts are the signals that ask a command to end: they end a context, so that it stops between two steps and cleans up behind
// itself. Before it becomes another program it has to give them back: what a handler has taken, execve forgets.
type interrupts struct {
	signals chan os.Signal
	heard   chan struct{} // closed when nobody listens any more
	first   os.Signal     // valid once heard is closed, or ctx is over
}

func catchInterrupts(parent context.Context) (context.Context, *interrupts) {
	ctx, cancel := context.WithCancel(parent)
	i := &interrupts{signals: make(chan os.Signal, 1), heard: make(chan struct{})}
	signal.Notify(i.signals, wanted(unix.SIGINT, unix.SIGTERM, unix.SIGHUP)...)
	go func() {
		defer close(i.heard)
		if first, some := <-i.signals; some {
			i.first = first
			cancel()
		}
	}()
	return ctx, i
}

// giveBack leaves the signals to the kernel: from here on they end the process. An error says that one came before. Repeating it is harmless.
func (i *interrupts) giveBack() error {
	select {
	case <-i.heard:
	default:
		signal.Stop(i.signals) // when it returns, all that came is in the channel
		close(i.signals)
		<-i.heard
	}
	if i.first != nil {
		return context.Canceled
	}
	return nil
}

// caught is the signal that ended the command, nil if none did.
func (i *interrupts) caught() os.Signal {
	_ = i.giveBack() // of interest is which
	return i.first
}

// wanted leaves out the signals that our caller ignores: under nohup, and under a shell's &, they stay ignored, here and in
// the pod.
func wanted(signals ...os.Signal) []os.Signal {
	return slices.DeleteFunc(signals, signal.Ignored)
}

package stage1

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// How long a pod whose apps are over waits for whoever reads the rest of what they wrote: a pager with its user, a FIFO whose reader is stuck.
// Then that is lost, and the pod ends. One that was told to stop waits less, and one that was killed as long as it takes where somebody reads.
const (
	outputPatience  = time.Minute
	stoppedPatience = 5 * time.Second
	killedPatience  = 200 * time.Millisecond
)

// finishOutput waits until everything that the apps wrote is written, as long as that is reasonable, and gives the caller's terminal
// back. Their processes must be dead.
func (s *supervisor) finishOutput() error {
	done := make(chan error, 1)
	go func() {
		for a := range s.apps {
			a.terminal.wait()
		}
		done <- s.streams.finish()
	}()
	patience := outputPatience
	if s.stopAsked {
		patience = stoppedPatience
	}
	var errs []error
	for timeout := time.NewTimer(patience); ; {
		select {
		case err := <-done:
			errs = append(errs, err)
		case <-timeout.C:
			errs = append(errs, s.streams.giveUp())
		case sig := <-s.signals:
			switch {
			case sig == unix.SIGQUIT || sig != poweroff && s.impatient:
				timeout.Reset(killedPatience)
			case !s.stopAsked: // who asks again does not make it longer
				timeout.Reset(stoppedPatience)
			}
			s.stopAsked, s.impatient = true, s.impatient || sig != poweroff
			continue
		}
		for a := range s.apps {
			errs = append(errs, a.terminal.restore())
		}
		return errors.Join(errs...)
	}
}

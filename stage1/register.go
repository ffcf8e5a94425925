package stage1

import (
	"context"
	"os"

	"github.com/gantryrun/gantry/pods"
	"github.com/gantryrun/gantry/stage1/machine"
)

// registration is what became of telling systemd-machined of the pod.
type registration chan error

// register tells machined, once the pod is ready and while it goes about its business: nobody waits for a bus. The undo is pushed
// last, and so is done first.
func (s *supervisor) register() {
	if !s.manifest.Register {
		return
	}
	done := make(registration, 1)
	go func() {
		err := machine.Register(s.pod.UUID, os.Getpid())
		if err != nil {
			s.opts.warn("the pod is not in machinectl's list: " + err.Error())
		}
		done <- err
	}()
	s.undo.push("machine", func(context.Context) error {
		select {
		case err := <-done:
			if err != nil {
				return nil // there is nothing to take back
			}
		default: // it may still come to be
		}
		if err := machine.Unregister(s.pod.UUID); err != nil {
			s.opts.warn("the pod stays in machinectl's list until its unit ends: " + err.Error())
		}
		return nil
	})
}

func (o *Options) warn(message string) {
	if o.Warn != nil {
		o.Warn(message)
	}
}

// unregister is what gc does for a supervisor that died. It is as good as done where nobody answers: machined forgets with the unit.
func unregister(pod *pods.Pod, run *pods.Run) {
	if run.Machine != "" && run.BootID == pods.BootID() {
		_ = machine.Unregister(pod.UUID)
	}
}

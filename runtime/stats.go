package runtime

import (
	"errors"

	"github.com/gantryrun/gantry/pods"
	"github.com/gantryrun/gantry/runtime/stats"
)

// ReadStats takes a sample of what a running pod uses. ErrState: it does not run.
func ReadStats(pod *pods.Pod) (*stats.Pod, error) {
	state, err := pod.State()
	if err != nil {
		return nil, err
	}
	if state != pods.Running {
		return nil, stateErrorf("pod %s is %s, not running", pod.UUID, state)
	}
	m, err := pod.Manifest()
	if err != nil {
		return nil, err
	}
	run, err := pod.Run()
	if err != nil {
		return nil, err
	}
	apps, err := pod.Apps()
	if err != nil {
		return nil, err
	}
	var running []stats.Process
	for _, a := range apps {
		p, err := appProcess(run.RunDir, a.Name)
		if errors.Is(err, ErrState) {
			continue // it is over, or about to be started again
		}
		if err != nil {
			return nil, err
		}
		running = append(running, stats.Process{App: a.Name, PID: p.pid, Start: p.start})
		p.close()
	}
	p := stats.Read(m, run, running)
	for i := range p.Apps {
		dropped, err := readDropped(pod, p.Apps[i].Name)
		if err != nil {
			return nil, err
		}
		if dropped != nil {
			p.Apps[i].DroppedLines = dropped.Lines + dropped.Journal
		}
	}
	return p, nil
}

package stage1

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods"
	"github.com/gantryrun/gantry/pods/stdio"
)

// mayHold says whether app may have the caller's f itself; what it may not stays the supervisor's, who copies.
func (s *streams) mayHold(f *os.File, pod *pods.Pod, app string) (bool, error) {
	kind, owner, err := stdio.Look(f)
	if err != nil || kind != stdio.Terminal {
		return kind == stdio.Anonymous, err
	}
	uid, err := userOf(pod, app)
	if err != nil || uid != 0 {
		return false, err
	}
	if owner != 0 {
		s.lent = append(s.lent, lent{f, owner})
	}
	return true, nil
}

// userOf reads who the app runs as.
func userOf(pod *pods.Pod, app string) (uint32, error) {
	data, err := pod.Root().ReadFile(pods.AppPath(app, pods.ConfigFile))
	if err != nil {
		return 0, err
	}
	var config struct {
		Process struct{ User struct{ UID uint32 } }
	}
	if err := json.Unmarshal(data, &config); err != nil {
		return 0, fmt.Errorf("read configuration of app %s: %w", app, err)
	}
	return config.Process.User.UID, nil
}

// lent is a terminal that an app of root uses while it is somebody else's: whoever called sudo.
type lent struct {
	terminal *os.File
	owner    int
}

// giveBack undoes that libcontainer made the terminals root's. The app has them open and keeps them.
func (s *streams) giveBack() {
	for _, l := range s.lent {
		_ = l.terminal.Chown(l.owner, -1) // it may be hung up
	}
}

// feed makes a pipe into which the caller's f is copied to its end. Nobody waits for that: f may be a terminal.
func (s *streams) feed(f *os.File) (int, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	s.close = append(s.close, r)
	go func() {
		_, _ = io.Copy(w, f) // ends too when the last reader is gone
		_ = w.Close()
	}()
	return s.add(r), nil
}

// drain is the pipe in place of one of the caller's files.
type drain struct {
	file   *os.File
	stream int
}

// drain makes a pipe that is copied to the caller's f byte by byte, until its last writer is gone. Streams that lead to one file share it,
// which keeps what comes from them in order. Where f cannot be written any more, the app gets to know as from any pipe (SIGPIPE), and
// the caller from lost.
func (s *streams) drain(f *os.File) (int, error) {
	for _, d := range s.drains {
		if stdio.Same(d.file, f) {
			return d.stream, nil
		}
	}
	r, w, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	s.close = append(s.close, w)
	s.copiers.Go(func() {
		if _, err := io.Copy(f, r); err != nil && !errors.Is(err, unix.EPIPE) {
			s.mu.Lock()
			s.lost = errors.Join(s.lost, fmt.Errorf("output is lost: %w", err))
			s.mu.Unlock()
		}
		_ = r.Close()
	})
	n := s.add(w)
	s.drains = append(s.drains, drain{f, n})
	return n, nil
}

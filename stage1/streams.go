package stage1

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods"
)

// streams are the descriptors that the apps get as 0, 1 and 2, and the copiers behind those that are pipes.
type streams struct {
	files   []*os.File // the launcher's, from descriptor firstStream on
	close   []*os.File // those of files that are only the apps'
	logs    []*logFile
	journal *journal // nil: the caller is not the journal
	copiers sync.WaitGroup
	drains  []drain // of the caller's files
	lent    []lent  // terminals whose owner is to be restored
	mu      sync.Mutex
	lost    error // why output for the caller was lost; settled when finish returns
}

// appStreams are one app's descriptors as the launcher counts them; -1 is /dev/null.
type appStreams struct{ stdin, stdout, stderr int }

// open decides where app's streams lead. A single app in the foreground has the caller's own or, where it may not hold those, pipes
// that are copied as they are. Others, and one whose caller has sockets (an image that opens /dev/stdout again fails on those with
// ENXIO), write to pipes, which are copied to the pod's log, and line by line to the caller where there is one, or to the journal
// where that is the caller.
func (s *streams) open(pod *pods.Pod, m *pods.Manifest, app *pods.App, foreground, single bool) (appStreams, error) {
	var a appStreams
	if app.Stdin == pods.StreamTTY {
		return s.besideTerminal(pod, app)
	}
	direct := foreground && single
	a.stdin = -1
	if (direct || app.Stdin == pods.StreamInherit) && foreground && app.Stdin != pods.StreamNull {
		var err error
		if a.stdin, err = s.inherit(os.Stdin, pod, app, s.feed); err != nil {
			return a, fmt.Errorf("open stdin of app %s: %w", app.Name, err)
		}
	}
	var log *logFile
	for _, o := range []struct {
		name, mode string
		caller     *os.File
		to         *int
	}{{"stdout", app.Stdout, os.Stdout, &a.stdout}, {"stderr", app.Stderr, os.Stderr, &a.stderr}} {
		switch {
		case o.mode == pods.StreamNull:
			*o.to = -1
		case foreground && (direct && o.mode == "" || o.mode == pods.StreamInherit) && !isSocket(o.caller):
			n, err := s.inherit(o.caller, pod, app, s.drain)
			if err != nil {
				return a, fmt.Errorf("open %s of app %s: %w", o.name, app.Name, err)
			}
			*o.to = n
		default:
			if log == nil {
				log = newLogFile(pod, app.Name)
				s.logs = append(s.logs, log)
			}
			sinks := []lineWriter{log.stream(o.name)}
			if foreground {
				caller, err := s.caller(o.caller, log, m, app, o.name, single)
				if err != nil {
					return a, err
				}
				sinks = append(sinks, caller)
			}
			n, err := s.pipe(sinks)
			if err != nil {
				return a, fmt.Errorf("open %s of app %s: %w", o.name, app.Name, err)
			}
			*o.to = n
		}
	}
	return a, nil
}

// besideTerminal is for an app whose terminal comes from the launcher: only its hooks write to the log.
func (s *streams) besideTerminal(pod *pods.Pod, app *pods.App) (appStreams, error) {
	if app.PreStart == nil && app.PostStop == nil {
		return appStreams{-1, -1, -1}, nil
	}
	log := newLogFile(pod, app.Name)
	s.logs = append(s.logs, log)
	n, err := s.pipe([]lineWriter{log.stream("stdout")})
	return appStreams{-1, n, n}, err
}

// inherit gives app the caller's f, or what through makes in its place.
func (s *streams) inherit(f *os.File, pod *pods.Pod, app *pods.App, through func(*os.File) (int, error)) (int, error) {
	may, err := s.mayHold(f, pod, app.Name)
	switch {
	case err != nil:
		return -1, err
	case may:
		return s.add(f), nil
	}
	return through(f)
}

func (s *streams) add(f *os.File) int {
	s.files = append(s.files, f)
	return firstStream + len(s.files) - 1
}

// pipe makes the pipe of one stream and the goroutine that copies it, until its last writer is gone.
func (s *streams) pipe(sinks []lineWriter) (int, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	s.close = append(s.close, w)
	s.copiers.Go(func() {
		copyLines(r, sinks)
		_ = r.Close()
	})
	return s.add(w), nil
}

// caller is where lines for the caller's stream f go.
func (s *streams) caller(f *os.File, log *logFile, m *pods.Manifest, app *pods.App, name string, single bool) (lineWriter, error) {
	if !isJournal(f) {
		return &prefixer{to: f, prefix: callerPrefix(app.Name, single)}, nil
	}
	if s.journal == nil {
		var err error
		if s.journal, err = openJournal(); err != nil {
			return nil, err
		}
	}
	return s.journal.stream(m, app, name, log), nil
}

func callerPrefix(app string, single bool) string {
	if single {
		return ""
	}
	return app + ": "
}

// release closes the supervisor's copies of the apps' ends. Until then an app can be started again.
func (s *streams) release() {
	for _, f := range s.close {
		_ = f.Close()
	}
	s.close = nil
}

// finish waits until everything that the apps wrote is written. Their processes must be dead.
func (s *streams) finish() error {
	s.release()
	s.copiers.Wait()
	s.journal.close()
	var errs []error
	for _, l := range s.logs {
		errs = append(errs, l.close())
	}
	return errors.Join(errs...)
}

func isSocket(f *os.File) bool {
	var st unix.Stat_t
	return unix.Fstat(int(f.Fd()), &st) != nil || st.Mode&unix.S_IFMT == unix.S_IFSOCK
}

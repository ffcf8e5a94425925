package stage1

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods"
)

// streams are the descriptors that the apps get as 0, 1 and 2, and the copiers behind those that are pipes.
type streams struct {
	files   []*os.File // that launchers get, as apps count them
	close   []*os.File // what to close when no app is to be started any more
	logs    []*logFile
	journal *journal // nil: no line goes there
	copiers sync.WaitGroup
	drains  []drain // of the caller's files
	lent    []lent  // terminals whose owner is to be restored
	mu      sync.Mutex
	lost    error // why output for the caller was lost
}

// appStreams are one app's descriptors, counted in streams.files; -1 is /dev/null. The rest is what clients can attach to.
type appStreams struct {
	stdin, stdout, stderr int
	in                    *os.File     // where to write what the app is to read; nil: it does not read a pipe of ours
	out, err              *tap         // nil: its output does not come here
	terminal              []lineWriter // where the output of its terminal goes, when it has been started; nil: to the caller
	log                   *logFile     // nil: none of it is logged
}

// open decides where app's streams lead. A single app in the foreground has the caller's own or, where it may not hold those, pipes
// that are copied as they are. Others, and one whose caller has sockets (an image that opens /dev/stdout again fails on those with
// ENXIO), write to pipes, which are copied to the pod's log, and line by line to the caller where there is one, or to the journal
// where that is the caller.
func (s *streams) open(pod *pods.Pod, m *pods.Manifest, app *pods.App, foreground, single bool) (appStreams, error) {
	o := opener{streams: s, pod: pod, manifest: m, app: app, foreground: foreground, single: single}
	a, err := o.open()
	a.log = o.log
	return a, err
}

func (o *opener) open() (a appStreams, err error) {
	if o.app.Stdin == pods.StreamTTY {
		return o.terminal()
	}
	if a.stdin, a.in, err = o.stdin(); err != nil {
		return a, fmt.Errorf("open stdin of app %s: %w", o.app.Name, err)
	}
	if a.stdout, a.out, err = o.output("stdout", o.app.Stdout, os.Stdout); err != nil {
		return a, fmt.Errorf("open stdout of app %s: %w", o.app.Name, err)
	}
	if a.stderr, a.err, err = o.output("stderr", o.app.Stderr, os.Stderr); err != nil {
		return a, fmt.Errorf("open stderr of app %s: %w", o.app.Name, err)
	}
	return a, nil
}

// opener opens the streams of one app.
type opener struct {
	*streams
	pod                *pods.Pod
	manifest           *pods.Manifest
	app                *pods.App
	foreground, single bool
	log                *logFile
}

// terminal has the app's terminal, which comes from the launcher, joined to the caller's, if the app is alone in the foreground. Its hooks write to
// the log.
func (o *opener) terminal() (appStreams, error) {
	a := appStreams{stdin: -1, stdout: -1, stderr: -1}
	if !o.foreground || !o.single {
		var err error
		if a.terminal, err = o.sinks("stdout", "", os.Stdout); err != nil {
			return a, err
		}
	}
	if o.app.PreStart == nil && o.app.PostStop == nil {
		return a, nil
	}
	n, _, err := o.pipe([]lineWriter{o.logged("stdout")})
	a.stdout, a.stderr = n, n
	return a, err
}

func (o *opener) stdin() (int, *os.File, error) {
	mode := o.app.Stdin
	switch {
	case mode == pods.StreamStream:
		r, w, err := os.Pipe()
		if err != nil {
			return -1, nil, err
		}
		o.close = append(o.close, r, w)
		return o.add(r), w, nil
	case o.foreground && (o.single && mode == "" || mode == pods.StreamInherit):
		n, err := o.inherit(os.Stdin, o.pod, o.app, o.feed)
		return n, nil, err
	}
	return -1, nil, nil
}

func (o *opener) output(name, mode string, caller *os.File) (int, *tap, error) {
	direct := o.foreground && (o.single && mode == "" || mode == pods.StreamInherit)
	switch {
	case mode == pods.StreamNull:
		return -1, nil, nil
	case mode == pods.StreamJournal:
		n, err := o.journalStream(o.app.Name, name)
		return n, nil, err
	case direct && !isSocket(caller):
		n, err := o.inherit(caller, o.pod, o.app, o.drain)
		return n, nil, err
	}
	sinks, err := o.sinks(name, mode, caller)
	if err != nil {
		return -1, nil, err
	}
	return o.pipe(sinks)
}

// sinks are where lines of the app's stream name go: the log, and the caller's f where that is somebody's. (Of a stream that was asked
// for only the journal gets them: the caller is who attaches.)
func (o *opener) sinks(name, mode string, f *os.File) ([]lineWriter, error) {
	sinks := []lineWriter{o.logged(name)}
	if !o.foreground || mode == pods.StreamStream && !isJournal(f) {
		return sinks, nil
	}
	caller, err := o.caller(f, o.log, o.manifest, o.app, name, o.single)
	if err != nil {
		return nil, err
	}
	return append(sinks, caller), nil
}

func (o *opener) logged(name string) lineWriter {
	if o.log == nil {
		o.log = newLogFile(o.pod, o.app.Name)
		o.logs = append(o.logs, o.log)
	}
	return o.log.stream(name)
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
	if i := slices.Index(s.files, nil); i >= 0 { // of an app that was removed
		s.files[i] = f
		return i
	}
	s.files = append(s.files, f)
	return len(s.files) - 1
}

// pass returns the files that req names, and has it count among those.
func (s *streams) pass(req *pods.Launch) (files []*os.File) {
	place := map[int]int{}
	count := func(n *int) {
		if *n < 0 {
			return
		}
		i, ok := place[*n]
		if !ok {
			i = len(files)
			place[*n] = i
			files = append(files, s.files[*n])
		}
		*n = i
	}
	for i := range req.Apps {
		a := &req.Apps[i]
		count(&a.Stdin)
		count(&a.Stdout)
		count(&a.Stderr)
		a.Sockets = slices.Clone(a.Sockets) // the app's own are for its next start too
		for j := range a.Sockets {
			count(&a.Sockets[j].FD)
		}
	}
	return files
}

// pipe makes the pipe of one stream and the goroutine that copies it, until its last writer is gone.
func (o *opener) pipe(sinks []lineWriter) (int, *tap, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return -1, nil, err
	}
	t, err := newTap(r)
	if err != nil {
		return -1, nil, errors.Join(err, r.Close(), w.Close())
	}
	o.close = append(o.close, w)
	o.copiers.Go(func() {
		copyLines(t, sinks)
		t.close()
	})
	return o.add(w), t, nil
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

// drop closes what only the app has had, which does not run and will not. Its log takes no more.
func (s *streams) drop(a *app) {
	own := []*os.File{a.streams.in}
	for _, n := range []int{a.streams.stdin, a.streams.stdout, a.streams.stderr} {
		if n < 0 {
			continue
		}
		f := s.files[n]
		if f != nil && slices.Contains(s.close, f) { // else others have it too
			own = append(own, f)
			s.files[n] = nil
		}
	}
	s.close = slices.DeleteFunc(s.close, func(f *os.File) bool { return slices.Contains(own, f) })
	for _, f := range own {
		_ = f.Close() // nil too
	}
	a.streams.stdin, a.streams.stdout, a.streams.stderr, a.streams.in = -1, -1, -1, nil // the next app's now
	if log := a.streams.log; log != nil {
		s.logs = slices.DeleteFunc(s.logs, func(l *logFile) bool { return l == log })
		log.forget()
	}
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

// giveUp leaves output behind that nobody takes. The logs have theirs.
func (s *streams) giveUp() error {
	s.mu.Lock()
	s.lost = errors.Join(s.lost, errors.New("output is lost: nobody reads it"))
	s.mu.Unlock()
	var errs []error
	for _, l := range s.logs {
		errs = append(errs, l.close())
	}
	return errors.Join(errs...)
}

// whyLost is nil where none was. Copiers that were left behind may still say something.
func (s *streams) whyLost() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lost
}

func isSocket(f *os.File) bool {
	var st unix.Stat_t
	return unix.Fstat(int(f.Fd()), &st) != nil || st.Mode&unix.S_IFMT == unix.S_IFSOCK
}

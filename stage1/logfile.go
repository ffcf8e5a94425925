package stage1

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/gantryrun/gantry/pods"
)

// maxLog is the size at which an app's log is rotated: at most twice as much is kept.
const maxLog = 10 << 20

// maxBatch bounds what is collected for one write.
const maxBatch = 64 << 10

// logFile is logs/<app>.log of a pod, in the format of the Kubernetes CRI, which log shippers read:
//
//	2026-11-22T14:00:00.000000000Z stdout F a line
//	2026-11-22T14:00:00.000000000Z stderr P a piece of a line that goes on
//
// It is made when the first line comes. Lines that came in one read have one time and are one write. What is not kept is counted, in
// logs/<app>.dropped: nothing that happens to a log stops an app or fails its pod.
type logFile struct {
	pod *pods.Pod
	app string

	mu     sync.Mutex
	file   *os.File
	size   int64
	buf    []byte // lines that wait for flush
	head   []byte // their time
	count  uint64 // of lines in buf
	torn   bool   // the file does not end with a line
	lines  uint64 // in the file
	before [2]uint64
	drops  dropped
	gone   bool // nothing is written any more
}

func newLogFile(pod *pods.Pod, app string) *logFile { return &logFile{pod: pod, app: app} }

func (l *logFile) name() string { return filepath.Join("logs", l.app+".log") }

// stream is the log as one of the app's streams writes to it.
func (l *logFile) stream(name string) lineWriter { return logStream{l, name} }

type logStream struct {
	log  *logFile
	name string
}

func (s logStream) writeLine(line []byte, partial bool) { s.log.add(s.name, line, partial) }

func (s logStream) flush() {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	s.log.write()
}

func (l *logFile) add(stream string, line []byte, partial bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.buf)+len(line)+len(stream)+50 > maxBatch {
		l.write()
	}
	if len(l.buf) == 0 {
		l.head = append(time.Now().UTC().AppendFormat(l.head[:0], "2006-01-02T15:04:05.000000000Z07:00"), ' ')
	}
	tag := " F "
	if partial {
		tag = " P "
	}
	l.buf = append(append(append(l.buf, l.head...), stream...), tag...)
	l.buf = append(append(l.buf, line...), '\n')
	l.count++
}

// write writes what was collected. What the disk does not take is lost, and the next batch is tried again.
func (l *logFile) write() {
	if len(l.buf) == 0 {
		return
	}
	if l.gone {
		l.buf, l.count = l.buf[:0], 0
		return
	}
	if l.file == nil || l.size+int64(len(l.buf)) >= maxLog {
		if err := l.rotate(); err != nil {
			l.lose(err, len(l.buf))
			return
		}
	}
	if l.torn {
		_, err := l.file.Write([]byte{'\n'})
		if l.torn = err != nil; err == nil {
			l.size++
		}
	}
	n, err := l.file.Write(l.buf)
	l.size += int64(n)
	if err != nil {
		l.torn = l.torn || n > 0 && l.buf[n-1] != '\n'
		l.lose(err, len(l.buf)-n)
		return
	}
	l.lines += l.count
	l.buf, l.count = l.buf[:0], 0
}

func (l *logFile) lose(err error, bytes int) {
	l.drops.count(l.count, uint64(bytes), 0, err)
	l.drops.tell(l.pod, l.app)
	l.buf, l.count = l.buf[:0], 0
}

// rotate starts an empty file; the one before is kept under the name .1, and the one before that is gone. (Removed, not renamed over:
// ext4 would write the new one to disk first.)
func (l *logFile) rotate() error {
	root, name := l.pod.Root(), l.name()
	if l.file != nil {
		err := l.file.Close()
		l.file = nil
		if gone := root.Remove(name + ".1"); gone == nil {
			l.drops.count(l.before[0], l.before[1], 0, nil)
			l.drops.tell(l.pod, l.app)
		}
		if err := errors.Join(err, root.Rename(name, name+".1")); err != nil {
			return err
		}
		l.before = [2]uint64{l.lines, uint64(l.size)}
	} else if err := root.Mkdir("logs", 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	l.file, l.size, l.lines, l.torn = f, 0, 0, false
	return nil
}

// lostEntry takes that journald has not got a line.
func (l *logFile) lostEntry() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone {
		return
	}
	l.drops.count(0, 0, 1, nil)
	l.drops.tell(l.pod, l.app)
}

// close writes the rest, and returns why lines could not be written, if any. What comes later, of a copier that was left behind, is dropped: the pod's
// directory may be about to go.
func (l *logFile) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.write()
	l.gone = true
	l.drops.told = time.Time{}
	l.drops.tell(l.pod, l.app)
	if l.file == nil {
		return l.drops.err
	}
	return errors.Join(l.drops.err, l.file.Close())
}

// forget closes the log of an app that was removed: what still comes is nobody's.
func (l *logFile) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gone = true
	if l.file != nil {
		_ = l.file.Close()
	}
}

package stage1

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// maxLog is the size at which an app's log is rotated: at most twice as much is kept.
const maxLog = 10 << 20

// logFile is logs/<app>.log of a pod, in the format of the Kubernetes CRI, which log shippers read:
//
//	2026-11-22T14:00:00.000000000Z stdout F a line
//	2026-11-22T14:00:00.000000000Z stderr P a piece of a line that goes on
//
// It is made when the first line comes.
type logFile struct {
	root *os.Root
	name string

	mu   sync.Mutex
	file *os.File
	size int64
	buf  []byte
	err  error // the first that happened: then nothing more is written
}

func newLogFile(root *os.Root, app string) *logFile {
	return &logFile{root: root, name: filepath.Join("logs", app+".log")}
}

// stream is the log as one of the app's streams writes to it.
func (l *logFile) stream(name string) lineWriter { return logStream{l, name} }

type logStream struct {
	log  *logFile
	name string
}

func (s logStream) writeLine(line []byte, partial bool) { s.log.write(s.name, line, partial) }

func (l *logFile) write(stream string, line []byte, partial bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return
	}
	tag := " F "
	if partial {
		tag = " P "
	}
	l.buf = time.Now().UTC().AppendFormat(l.buf[:0], "2006-01-02T15:04:05.000000000Z07:00")
	l.buf = append(append(append(l.buf, ' '), stream...), tag...)
	l.buf = append(append(l.buf, line...), '\n')
	if l.file == nil || l.size+int64(len(l.buf)) > maxLog {
		if l.err = l.rotate(); l.err != nil {
			return
		}
	}
	n, err := l.file.Write(l.buf)
	l.size += int64(n)
	l.err = err
}

// rotate starts an empty file; the one before is kept under the name .1.
func (l *logFile) rotate() error {
	if l.file != nil {
		if err := errors.Join(l.file.Close(), l.root.Rename(l.name, l.name+".1")); err != nil {
			return err
		}
	} else if err := l.root.Mkdir("logs", 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	var err error
	l.size = 0
	l.file, err = l.root.OpenFile(l.name, os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	return err
}

func (l *logFile) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return l.err
	}
	return errors.Join(l.err, l.file.Close())
}

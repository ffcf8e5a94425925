package logs

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods"
)

// source is the log of one app: the rotated file, then the current one, then what they grow by.
type source struct {
	pod  *pods.Pod
	app  string
	file *os.File
	r    *bufio.Reader
	part []byte // of a line that is being written
	next *Line  // read, and not yet taken
	// rotated says that file is the .1 of before: the current one comes next.
	rotated bool
	partial map[string]bool // streams whose last piece was partial
}

func openSource(pod *pods.Pod, app string) *source {
	s := &source{pod: pod, app: app, partial: map[string]bool{}}
	if s.open(".log.1") == nil {
		s.rotated = true
	}
	return s
}

func (s *source) open(suffix string) error {
	// A log that was replaced by something else is not followed (the directory is root's; this is the second lock).
	f, err := s.pod.Root().OpenFile(filepath.Join("logs", s.app+suffix), os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	s.use(f)
	return nil
}

func (s *source) use(f *os.File) {
	if s.file != nil {
		_ = s.file.Close()
	}
	s.file, s.r, s.part = f, bufio.NewReaderSize(f, 64<<10), nil
}

// peek is the next line, or nil where there is none yet.
func (s *source) peek() (*Line, error) {
	for s.next == nil {
		if s.file == nil {
			if err := s.open(".log"); errors.Is(err, fs.ErrNotExist) {
				return nil, nil
			} else if err != nil {
				return nil, err
			}
		}
		raw, err := s.r.ReadSlice('\n')
		s.part = append(s.part, raw...)
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF):
			if moved, err := s.advance(); err != nil || !moved {
				return nil, err
			}
			continue
		case err != nil:
			return nil, err
		}
		s.take()
	}
	return s.next, nil
}

// take makes the next line of what was read. What is no line (a power cut leaves such) is passed over.
func (s *source) take() {
	l, err := parseLine(s.part[:len(s.part)-1])
	s.part = nil
	if err != nil {
		return
	}
	l.Continued = s.partial[l.Stream]
	s.partial[l.Stream] = l.Partial
	s.next = &l
}

// advance goes on to the current file, at the end of one that is not it any more.
func (s *source) advance() (bool, error) {
	current, err := s.pod.Root().OpenFile(filepath.Join("logs", s.app+".log"), os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if same, err := sameFile(s.file, current); err != nil || same {
		return false, errors.Join(err, current.Close())
	}
	// The old file was renamed before the new one was made: it was read to its end after that, or grows once more at most.
	if !s.rotated {
		s.rotated = true
		return true, current.Close()
	}
	s.rotated = false
	s.use(current)
	return true, nil
}

func sameFile(a, b *os.File) (bool, error) {
	x, err1 := a.Stat()
	y, err2 := b.Stat()
	if err := errors.Join(err1, err2); err != nil {
		return false, err
	}
	return os.SameFile(x, y), nil
}

func (s *source) close() {
	if s.file != nil {
		_ = s.file.Close()
	}
}

package cli

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"sync"
)

// results is stdout. It keeps its first error, so that no verb need look at each line that it prints: a result that did not
// arrive fails the command at its end.
type results struct {
	*os.File
	mu  sync.Mutex
	err error
}

func (r *results) Write(data []byte) (int, error) {
	n, err := r.File.Write(data)
	return n, r.note(err)
}

func (r *results) WriteString(s string) (int, error) { return r.Write([]byte(s)) }

func (r *results) ReadFrom(src io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{r}, src) // what cannot be read is no error of stdout
}

// note makes of an error one that says what failed. The reason is text alone: a stdout that is full is no data directory that is.
func (r *results) note(err error) error {
	if err == nil {
		return nil
	}
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	err = errors.New("write result: " + err.Error())
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = err
	}
	return r.err
}

func (r *results) failed() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// outcome is err, how the verb ended, with what became of its result.
func (r *results) outcome(err error) error {
	lost := r.failed()
	var code exitCode
	switch {
	case lost == nil || errors.Is(err, lost):
		return err
	case err == nil || errors.As(err, &code):
		return lost
	}
	return errors.Join(err, lost)
}

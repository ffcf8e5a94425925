package launch

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A second stage that the kernel gave no thread leaves a crash of Go's runtime, of which one sentence is made; other ends are what they are.
func TestExplain(t *testing.T) {
	tests := map[string]struct {
		err, noise string
		full       bool
	}{
		"a thread of Go's":   {"procReady not received", "runtime: failed to create new OS thread (have 2 already; errno=11)\nfatal error: newosproc\n", true},
		"a thread of cgo's":  {"procReady not received", "runtime/cgo: pthread_create failed: Resource temporarily unavailable\nSIGABRT: abort\n", true},
		"a process":          {"fork/exec /proc/self/fd/10: resource temporarily unavailable", "", true},
		"longer than a pipe": {"procReady not received", strings.Repeat("x", 100<<10), false},
		"something else":     {"no such file or directory", "sync procError: EOF\n", false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r, w, err := quietPipe()
			if err != nil {
				t.Fatal(err)
			}
			l := &lastStep{noise: r, noiseW: w}
			defer l.close()
			_, _ = unix.Write(int(w.Fd()), []byte(test.noise)) // as who crashes: what does not fit is lost
			before := errors.New(test.err)
			if got := l.explain(before); strings.Contains(got.Error(), "no room for another process") != test.full || !test.full && got.Error() != before.Error() {
				t.Errorf("got %v", got)
			}
		})
	}
}

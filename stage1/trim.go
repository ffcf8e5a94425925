package stage1

import (
	"bytes"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// rest gives back what only a start needs, when one is over.
func (s *supervisor) rest() {
	if s.ready && s.launcherPID == 0 && s.stays() {
		trim()
	}
}

// stays reports whether the pod is one to be as small as possible. One that somebody waits for in the foreground is most often over soon.
func (s *supervisor) stays() bool { return s.opts.Detached || os.Getenv("NOTIFY_SOCKET") != "" }

// trim gives the kernel back the mapping of our own program: a supervisor that waits needs a tenth of the code and tables that a start has been
// through. They stay in the page cache, shared with all other pods and free to be dropped when nobody needs them, and come back page by page.
// What cannot be told is left as it is.
func trim() {
	fd, err := unix.Open("/proc/self/maps", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	var maps [2048]byte // the program comes first
	n, err := unix.Read(fd, maps[:])
	_ = unix.Close(fd)
	if err != nil {
		return
	}
	var self [512]byte
	length, err := unix.Readlink("/proc/self/exe", self[:])
	if err != nil {
		return
	}
	for line := range bytes.Lines(maps[:n]) {
		if !bytes.HasSuffix(bytes.TrimSuffix(line, []byte{'\n'}), self[:length]) {
			continue
		}
		span, rest, _ := bytes.Cut(line, []byte(" "))
		low, high, _ := bytes.Cut(span, []byte("-"))
		if len(rest) < 2 || rest[1] == 'w' { // what was written would be lost
			continue
		}
		from, errFrom := strconv.ParseUint(string(low), 16, 64)
		to, errTo := strconv.ParseUint(string(high), 16, 64)
		const linked = 1 << 32 // above, a program was moved there, and its tables were written when it was (PIE)
		if errFrom == nil && errTo == nil && to < linked {
			_, _, _ = unix.Syscall(unix.SYS_MADVISE, uintptr(from), uintptr(to-from), unix.MADV_DONTNEED)
		}
	}
}

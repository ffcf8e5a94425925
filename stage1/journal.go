package stage1

import (
	"encoding/binary"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods"
)

// journalSocket takes entries in journald's native form: a datagram each. systemd keeps it open while journald restarts.
const journalSocket = "/run/systemd/journal/socket"

// journal writes the lines of apps to journald, so that each carries whose it is.
type journal struct {
	mu  sync.Mutex
	fd  int
	buf []byte
}

// isJournal says whether f is the stream that systemd connected to the journal, as it says in $JOURNAL_STREAM.
func isJournal(f *os.File) bool {
	var dev, ino uint64
	if _, err := fmt.Sscanf(os.Getenv("JOURNAL_STREAM"), "%d:%d", &dev, &ino); err != nil {
		return false
	}
	var st unix.Stat_t
	return unix.Fstat(int(f.Fd()), &st) == nil && st.Dev == dev && st.Ino == ino
}

func openJournal() (*journal, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	return &journal{fd: fd}, nil
}

// journalStream is the journal as one stream of one app writes to it.
type journalStream struct {
	journal *journal
	fields  []byte // all but the message, encoded
}

// stream names what is known of every line: the app's identifier, and PRIORITY 6 (info), 3 (err) on stderr.
func (j *journal) stream(m *pods.Manifest, uuid string, app *pods.App, name string) lineWriter {
	priority := "6"
	if name == "stderr" {
		priority = "3"
	}
	s := &journalStream{journal: j}
	for _, f := range [][2]string{
		{"SYSLOG_IDENTIFIER", app.Name}, {"PRIORITY", priority},
		{"GANTRY_POD", uuid}, {"GANTRY_POD_NAME", m.Name}, {"GANTRY_APP", app.Name}, {"GANTRY_IMAGE", app.Image.Name},
	} {
		if f[1] != "" {
			s.fields = appendField(s.fields, f[0], []byte(f[1]))
		}
	}
	return s
}

// appendField encodes a field with its length, which lets its value hold anything.
func appendField(b []byte, name string, value []byte) []byte {
	b = append(append(b, name...), '\n')
	b = binary.LittleEndian.AppendUint64(b, uint64(len(value)))
	return append(append(b, value...), '\n')
}

// writeLine sends one entry. A piece of a line is an entry too: at most maxLine bytes, which fit into a datagram. It waits when
// journald does not keep up; what cannot be sent is in the pod's log.
func (s *journalStream) writeLine(line []byte, _ bool) {
	j := s.journal
	j.mu.Lock()
	defer j.mu.Unlock()
	j.buf = append(appendField(j.buf[:0], "MESSAGE", line), s.fields...)
	for {
		if err := unix.Sendto(j.fd, j.buf, unix.MSG_NOSIGNAL, &unix.SockaddrUnix{Name: journalSocket}); err != unix.EINTR {
			return
		}
	}
}

func (j *journal) close() {
	if j != nil {
		_ = unix.Close(j.fd)
	}
}

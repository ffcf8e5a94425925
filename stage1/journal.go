package stage1

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods"
)

// journalSocket takes entries in journald's native form: a datagram each. systemd keeps it open while journald restarts.
const journalSocket = "/run/systemd/journal/socket"

// journal writes the lines of apps to journald, so that each carries whose it is.
type journal struct {
	mu   sync.Mutex
	fd   int
	buf  []byte
	full bool // it did not take the last one in time: none is waited for until it takes one
}

// journalPatience is how long journald, when it does not keep up, may hold up an app. A journald that is stuck holds up nobody for longer.
const journalPatience = time.Second

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
	patience := unix.NsecToTimeval(int64(journalPatience))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &patience); err != nil {
		return nil, errors.Join(fmt.Errorf("open journal: %w", err), unix.Close(fd))
	}
	return &journal{fd: fd}, nil
}

// journalStream is the journal as one stream of one app writes to it.
type journalStream struct {
	journal *journal
	fields  []byte // all but the message, encoded
	log     *logFile
}

// stream names what is known of every line: the app's identifier, and PRIORITY 6 (info), 3 (err) on stderr.
func (j *journal) stream(m *pods.Manifest, app *pods.App, name string, log *logFile) lineWriter {
	s := &journalStream{journal: j, log: log}
	for _, f := range [][2]string{
		{"SYSLOG_IDENTIFIER", app.Name}, {"PRIORITY", priority(name)},
		{"GANTRY_POD", m.UUID}, {"GANTRY_POD_NAME", m.Name}, {"GANTRY_APP", app.Name}, {"GANTRY_IMAGE", app.Image.Name},
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

// writeLine sends one entry. A piece of a line is an entry too: at most maxLine bytes, which fit into a datagram. What cannot be sent is
// counted, and in the pod's log.
func (s *journalStream) writeLine(line []byte, _ bool) {
	if !s.journal.send(line, s.fields) {
		s.log.lostEntry()
	}
}

func (s *journalStream) flush() {}

// send reports whether journald, or its queue in the kernel, has the entry.
func (j *journal) send(line, fields []byte) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.buf = append(appendField(j.buf[:0], "MESSAGE", line), fields...)
	flags := unix.MSG_NOSIGNAL
	if j.full {
		flags |= unix.MSG_DONTWAIT
	}
	err := error(unix.EINTR)
	for errors.Is(err, unix.EINTR) {
		err = unix.Sendto(j.fd, j.buf, flags, &unix.SockaddrUnix{Name: journalSocket})
	}
	j.full = errors.Is(err, unix.EAGAIN)
	return err == nil
}

// journalStdout takes the output of a program as it is: a connection for each stream.
const journalStdout = "/run/systemd/journal/stdout"

// journalStream is the stream name of app as a connection to journald, for the app to hold itself: nothing of it is copied, logged or
// attached to, and its only fields are the identifier, the priority, and what journald finds out by itself. Lines are cut at their ends, as
// sd_journal_stream_fd(3) has it.
func (s *streams) journalStream(app, name string) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	f := os.NewFile(uintptr(fd), "journal")
	header := fmt.Sprintf("%s\n\n%s\n0\n0\n0\n0\n", app, priority(name)) // identifier, unit, priority, <N> prefixes, three forwards
	err = unix.Connect(fd, &unix.SockaddrUnix{Name: journalStdout})
	if err == nil {
		err = unix.Shutdown(fd, unix.SHUT_RD)
	}
	if err == nil {
		_, err = f.WriteString(header)
	}
	if err != nil {
		return -1, errors.Join(fmt.Errorf("connect to journald: %w", err), f.Close())
	}
	s.close = append(s.close, f)
	return s.add(f), nil
}

// priority is info, or err of what comes from stderr.
func priority(stream string) string {
	if stream == "stderr" {
		return "3"
	}
	return "6"
}

func (j *journal) close() {
	if j != nil {
		_ = unix.Close(j.fd)
	}
}

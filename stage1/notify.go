package stage1

import (
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// announcer tells whoever started the pod that it is ready, or why it will not be: systemd by its notification socket, a
// waiting `gantry run --detach` by a line on a pipe.
type announcer struct {
	pipe  *os.File
	ended bool // the stop was announced
}

// Announcement is the line on the pipe of a detached run.
type announcement struct {
	Ready bool   `json:"ready"`
	Error string `json:"error,omitempty"`
	Code  int    `json:"code,omitempty"`
}

// urgent is how long a systemd that reads nothing may hold the loop up with what it has to know. All else is dropped then.
const urgent = 2 * time.Second

// tell says something to systemd, and waits for patience where its socket is full. That nobody listens is fine.
func tell(patience time.Duration, lines ...string) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	flags := unix.MSG_NOSIGNAL | unix.MSG_DONTWAIT
	if patience > 0 {
		limit := unix.NsecToTimeval(patience.Nanoseconds())
		if unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit) == nil {
			flags = unix.MSG_NOSIGNAL
		}
	}
	for {
		if err := unix.Sendto(fd, []byte(strings.Join(lines, "\n")), flags, &unix.SockaddrUnix{Name: path}); err != unix.EINTR { // "@..." is abstract
			return
		}
	}
}

func (a *announcer) starting(level []*app) {
	var names []string
	for _, app := range level {
		names = append(names, app.Name)
	}
	a.status("starting " + strings.Join(names, ", "))
}

func (a *announcer) ready() {
	tell(urgent, "READY=1", "STATUS=running")
	a.line(announcement{Ready: true})
}

func (a *announcer) failed(code int, why string) {
	a.line(announcement{Error: why, Code: code})
}

// status is one line.
func (a *announcer) status(s string) { tell(0, "STATUS="+strings.ReplaceAll(s, "\n", "; ")) }

func (a *announcer) extend(d time.Duration) {
	tell(0, "EXTEND_TIMEOUT_USEC="+strconv.FormatInt(d.Microseconds(), 10))
}

func (a *announcer) alive() { tell(0, "WATCHDOG=1") }

// stopping is said once, when the first app is asked to end: from then on TimeoutStopSec= counts.
func (a *announcer) stopping() {
	if !a.ended {
		a.ended = true
		tell(urgent, "STOPPING=1", "STATUS=stopping")
	}
}

// over leaves why the pod ended as the last status, which systemctl shows of a dead unit.
func (a *announcer) over(reason string) {
	if reason != "" {
		a.status(printable(strings.ReplaceAll(reason, "\n", "; ")))
	}
}

// line is said once.
func (a *announcer) line(msg announcement) {
	if a.pipe == nil {
		return
	}
	data, err := json.Marshal(msg)
	if err == nil {
		_, _ = a.pipe.Write(append(data, '\n')) // who waited may have gone: the pod does not care
	}
	_ = a.pipe.Close()
	a.pipe = nil
}

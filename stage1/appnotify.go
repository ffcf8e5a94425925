package stage1

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/gantryrun/gantry/pods"
)

// note is what an app says of itself on its notification socket, as sd_notify(3) does. What else it says is dropped: MAINPID=, FDSTORE=
// and the like are the supervisor's alone to say to systemd.
type note struct {
	app    *app
	ready  bool
	alive  bool          // WATCHDOG=1
	status string        // STATUS=
	extend time.Duration // EXTEND_TIMEOUT_USEC=
}

func (n *note) empty() bool { return !n.ready && !n.alive && n.status == "" && n.extend == 0 }

// calmNotes is how often at most the loop hears of one app: what comes faster is put together, and the last STATUS= counts.
const calmNotes = 100 * time.Millisecond

// openNotify makes the socket of an app that notifies, and reads it until that is removed, or to the end of the process.
func (s *supervisor) openNotify(a *app) error {
	if a.readiness.Kind != pods.ReadyNotify && !a.Watchdog {
		return nil
	}
	path := filepath.Join(s.runDir, "notify-"+a.Name)
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("make socket of app %s: %w", a.Name, err)
	}
	a.notify = c
	if err := os.Chmod(path, 0o666); err != nil { // for any user of the app, the only one who sees it: its directory is 0700
		return err
	}
	a.files[pods.NotifySocket] = path
	go hearNotes(c, a, func(n note) { s.notes <- n })
	return nil
}

// hearNotes reads until c is closed, as fast as the app writes: a full socket would block it.
func hearNotes(c *net.UnixConn, a *app, say func(note)) {
	buf := make([]byte, 4096)
	pending := note{app: a}
	var said time.Time
	for {
		n, err := c.Read(buf) // descriptors that come along are closed by the kernel
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err == nil:
			pending.read(string(buf[:n]))
		}
		if wait := calmNotes - time.Since(said); wait > 0 && !pending.empty() {
			_ = c.SetReadDeadline(said.Add(calmNotes))
			continue
		}
		_ = c.SetReadDeadline(time.Time{})
		if !pending.empty() {
			say(pending)
			pending, said = note{app: a}, time.Now()
		}
	}
}

// read adds what the message says.
func (n *note) read(message string) {
	for line := range strings.Lines(message) {
		key, value, _ := strings.Cut(strings.TrimRight(line, "\n"), "=")
		switch {
		case key == "READY" && value == "1":
			n.ready = true
		case key == "WATCHDOG" && value == "1":
			n.alive = true
		case key == "STATUS":
			n.status = printable(value)
		case key == "EXTEND_TIMEOUT_USEC":
			if usec, err := strconv.ParseInt(value, 10, 64); err == nil && usec > 0 {
				n.extend = min(time.Duration(usec)*time.Microsecond, longestExtension)
			}
		}
	}
}

// longestExtension is for each word of the app's.
const longestExtension = time.Hour

// printable is what of an app's words may stand on an administrator's terminal.
func printable(s string) string {
	s = strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return -1
		}
		return c
	}, strings.ToValidUTF8(s, ""))
	const longest = 200
	if runes := []rune(s); len(runes) > longest {
		s = string(runes[:longest])
	}
	return s
}

// noted takes what an app said.
func (s *supervisor) noted(n note) {
	a := n.app
	if n.alive {
		a.alive = time.Now()
	}
	if n.status != "" {
		s.announce.status(s.nameOf(a) + n.status)
	}
	if n.extend > 0 && !s.ready { // a stop has its own time, which is not the apps' to lengthen
		s.announce.extend(n.extend)
	}
	if n.ready && a.readiness.Kind == pods.ReadyNotify {
		a.up = true
		s.settle()
	}
}

// nameOf tells apps apart where there are several.
func (s *supervisor) nameOf(a *app) string {
	if len(s.levels) == 1 && len(s.levels[0]) == 1 {
		return ""
	}
	return a.Name + ": "
}

package stage1

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods"
)

// The waits between two questions to an app that is not ready yet. One that is ready is never asked again.
const (
	firstQuestion = 50 * time.Millisecond
	lastQuestion  = time.Second
	answerTime    = 2 * time.Second // that an app has for one
)

// openNotify makes the socket of an app that says itself when it is ready, and reads it until the pod's end: what an app says
// later (STATUS=, WATCHDOG=1) is dropped, but must not fill the socket and block the app.
func (s *supervisor) openNotify(a *app) error {
	if a.readiness.Kind != pods.ReadyNotify {
		return nil
	}
	path := filepath.Join(s.runDir, "notify-"+a.Name)
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("make socket of app %s: %w", a.Name, err)
	}
	s.undo.push("socket of app "+a.Name, func(context.Context) error { return c.Close() })
	if err := os.Chmod(path, 0o666); err != nil { // for any user of the app, the only one who sees it: its directory is 0700
		return err
	}
	a.files[pods.NotifySocket] = path
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := c.Read(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			for line := range strings.Lines(string(buf[:n])) {
				if strings.TrimSpace(line) == "READY=1" {
					s.readied <- a
				}
			}
		}
	}()
	return nil
}

// awaitApp has somebody find out when the app is ready.
func (s *supervisor) awaitApp(a *app) {
	switch {
	case a.up, a.asking, a.readiness.Kind == pods.ReadyNotify:
	case a.readiness.Kind == "":
		a.up = true
	default:
		a.asking = true
		go s.question(a, s.reaper.paths()["network"])
	}
}

// question asks the app until it is ready, from a thread in the pod's network namespace. It goes on while the app is being
// restarted, and ends with the process.
func (s *supervisor) question(a *app, netns string) {
	runtime.LockOSThread()
	if netns != "" {
		back, err := joinNetwork(netns)
		if err != nil {
			s.fault <- fmt.Errorf("probe app %s: %w", a.Name, err)
			return
		}
		defer back()
	}
	for wait := firstQuestion; !isReady(a.readiness); wait = min(2*wait, lastQuestion) {
		time.Sleep(wait) //nolint:forbidigo // nobody tells when another program begins to listen
	}
	s.readied <- a
}

// joinNetwork puts the locked thread into a network namespace. back takes it home, and unlocks it; one that cannot go home ends with
// its goroutine.
func joinNetwork(path string) (back func(), err error) {
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, err
	}
	ns, err := os.Open(path)
	if err != nil {
		return nil, errors.Join(err, home.Close())
	}
	defer ns.Close()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, errors.Join(err, home.Close())
	}
	return func() {
		if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		_ = home.Close()
	}, nil
}

// isReady asks once, on IPv4's loopback and then IPv6's. (A literal address: the socket is made on this thread.)
func isReady(r pods.Readiness) bool {
	for _, host := range []string{"127.0.0.1", "::1"} {
		c, err := net.DialTimeout("tcp", net.JoinHostPort(host, strconv.Itoa(r.Port)), answerTime)
		if err != nil {
			continue
		}
		defer c.Close()
		return r.Kind == pods.ReadyTCP || answersHTTP(c, r.Path)
	}
	return false
}

// answersHTTP speaks as little HTTP as it takes: net/http would stay resident beside every pod.
func answersHTTP(c net.Conn, path string) bool {
	if c.SetDeadline(time.Now().Add(answerTime)) != nil {
		return false
	}
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: localhost\r\nUser-Agent: gantry\r\nConnection: close\r\n\r\n", path); err != nil {
		return false
	}
	line, err := bufio.NewReaderSize(c, 1024).ReadString('\n')
	fields := strings.Fields(line)
	if err != nil || len(fields) < 2 || !strings.HasPrefix(fields[0], "HTTP/1.") {
		return false
	}
	status, err := strconv.Atoi(fields[1])
	return err == nil && status >= 200 && status < 400
}

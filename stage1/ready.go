package stage1

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
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

// awaitApp has somebody find out when the app is ready.
func (s *supervisor) awaitApp(a *app) {
	switch {
	case a.up, a.asking, a.readiness.Kind == pods.ReadyNotify:
	case a.readiness.Kind == "":
		a.up = true
	case a.readiness.Kind == pods.ReadyExec:
		a.asking = true
		a.probe = probe{wait: firstQuestion, at: time.Now().Add(firstQuestion)}
	default:
		a.asking = true
		go s.question(a, s.reaper.paths()["network"])
	}
}

// question asks the app until it is ready, from a thread in the pod's network namespace. It goes on while the app is being
// restarted, and ends when that is removed, or with the process.
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
	for wait := firstQuestion; !a.removed.Load() && !isReady(a.readiness); wait = min(2*wait, lastQuestion) {
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

package pods

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// Readiness is what App.Ready says: how one knows that an app is ready. The zero value: it is as soon as its program runs.
type Readiness struct {
	Kind    string   // ReadyNotify, ReadyTCP, ReadyHTTP or ReadyExec
	Port    int      // on the pod's loopback
	Path    string   // of ReadyHTTP, with its slash
	Command []string // of ReadyExec
}

// Kinds of readiness.
const (
	ReadyNotify = "notify" // it says READY=1 to $NOTIFY_SOCKET, as sd_notify(3) does
	ReadyTCP    = "tcp"    // it accepts a connection
	ReadyHTTP   = "http"   // it answers a GET with a status from 200 to 399
	ReadyExec   = "exec"   // a command in it ends with 0
)

// NotifySocket is $NOTIFY_SOCKET of an app that says itself when it is ready.
const NotifySocket = "/dev/gantry-notify"

// ParseReady parses "notify", "tcp:PORT", "http:PORT[/PATH]" and "exec:COMMAND", of which the last is a line for /bin/sh, or a JSON array of
// a program and its arguments; "" is the zero value.
func ParseReady(s string) (Readiness, error) {
	kind, rest, _ := strings.Cut(s, ":")
	r := Readiness{Kind: kind}
	if s == "" || s == ReadyNotify {
		return r, nil
	}
	if kind == ReadyExec {
		return parseReadyExec(rest)
	}
	if i := strings.IndexByte(rest, '/'); kind == ReadyHTTP && i >= 0 {
		rest, r.Path = rest[:i], rest[i:]
	} else if kind == ReadyHTTP {
		r.Path = "/"
	}
	port, err := strconv.ParseUint(rest, 10, 16)
	if (kind != ReadyTCP && kind != ReadyHTTP) || err != nil || port == 0 || strings.ContainsFunc(r.Path, notInURL) {
		return Readiness{}, fmt.Errorf("readiness %q: want notify, tcp:PORT, http:PORT[/PATH] or exec:COMMAND", s)
	}
	r.Port = int(port)
	return r, nil
}

func parseReadyExec(command string) (Readiness, error) {
	r := Readiness{Kind: ReadyExec, Command: []string{"/bin/sh", "-c", command}}
	if strings.HasPrefix(command, `["`) {
		r.Command = nil
		if err := json.Unmarshal([]byte(command), &r.Command); err != nil {
			return Readiness{}, fmt.Errorf("readiness exec:%s: want a JSON array of strings, or a line for a shell: %w", command, err)
		}
	}
	if command == "" || len(r.Command) == 0 || r.Command[0] == "" || strings.ContainsRune(command, 0) {
		return Readiness{}, fmt.Errorf("readiness %q: want exec:COMMAND", "exec:"+command)
	}
	return r, nil
}

// notInURL are characters that could end the line of a request.
func notInURL(c rune) bool { return c <= ' ' || c > '~' }

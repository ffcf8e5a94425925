package pods

import (
	"fmt"
	"strconv"
	"strings"
)

// Readiness is what App.Ready says: how one knows that an app is ready. The zero value: it is as soon as its program runs.
type Readiness struct {
	Kind string // ReadyNotify, ReadyTCP or ReadyHTTP
	Port int    // on the pod's loopback
	Path string // of ReadyHTTP, with its slash
}

// Kinds of readiness.
const (
	ReadyNotify = "notify" // it says READY=1 to $NOTIFY_SOCKET, as sd_notify(3) does
	ReadyTCP    = "tcp"    // it accepts a connection
	ReadyHTTP   = "http"   // it answers a GET with a status from 200 to 399
)

// NotifySocket is $NOTIFY_SOCKET of an app that says itself when it is ready.
const NotifySocket = "/dev/gantry-notify"

// ParseReady parses "notify", "tcp:PORT" and "http:PORT[/PATH]"; "" is the zero value.
func ParseReady(s string) (Readiness, error) {
	kind, rest, _ := strings.Cut(s, ":")
	r := Readiness{Kind: kind}
	if s == "" || s == ReadyNotify {
		return r, nil
	}
	if i := strings.IndexByte(rest, '/'); kind == ReadyHTTP && i >= 0 {
		rest, r.Path = rest[:i], rest[i:]
	} else if kind == ReadyHTTP {
		r.Path = "/"
	}
	port, err := strconv.ParseUint(rest, 10, 16)
	if (kind != ReadyTCP && kind != ReadyHTTP) || err != nil || port == 0 || strings.ContainsFunc(r.Path, notInURL) {
		return Readiness{}, fmt.Errorf("readiness %q: want notify, tcp:PORT or http:PORT[/PATH]", s)
	}
	r.Port = int(port)
	return r, nil
}

// notInURL are characters that could end the line of a request.
func notInURL(c rune) bool { return c <= ' ' || c > '~' }

package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/image"
	"github.com/gantryrun/gantry/pods"
	"github.com/gantryrun/gantry/pods/printable"
	"github.com/gantryrun/gantry/runtime"
	"github.com/gantryrun/gantry/runtime/logs"
)

// exitGantry is the exit code of everything that gantry itself could not do, wrong usage included; `run` otherwise
// gives the app's own code.
const exitGantry = 254

// Kinds of errors, for scripts that branch: the field "kind" of --log-format=json.
const (
	kindUsage       = "usage"
	kindNotFound    = "not-found"
	kindUnverified  = "unverified"
	kindBusy        = "busy"
	kindUnavailable = "unavailable"
	kindNoSpace     = "no-space"
	kindConfig      = "config"
	kindInternal    = "internal"
)

// usageError is a command line that makes no sense.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// hintError carries what to do next.
type hintError struct {
	err  error
	hint string
}

func (e hintError) Error() string { return e.err.Error() }
func (e hintError) Unwrap() error { return e.err }

func withHint(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return hintError{err, fmt.Sprintf(format, args...)}
}

// exitCode ends gantry with a code and no message: it was said already, or there is nothing to say.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

func kindOf(err error) string {
	var usage usageError
	switch {
	case errors.As(err, &usage), errors.Is(err, image.ErrBadRef), errors.Is(err, pods.ErrAmbiguous),
		errors.Is(err, runtime.ErrRequest), errors.Is(err, logs.ErrNoApp):
		return kindUsage
	case errors.Is(err, pods.ErrNotFound), errors.Is(err, image.ErrNotFound):
		return kindNotFound
	case errors.Is(err, pods.ErrBusy), errors.Is(err, pods.ErrNameTaken), errors.Is(err, runtime.ErrState):
		return kindBusy
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return kindNoSpace
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return kindUnavailable
	}
	return kindOfPart(err)
}

// hintOf finds the hint that err carries, or one that its kind suggests.
func hintOf(err error) string {
	var h hintError
	switch {
	case errors.As(err, &h):
		return h.hint
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return "gantry gc --grace-period=0s and gantry image gc free space"
	case errors.Is(err, fs.ErrPermission) && unix.Geteuid() != 0:
		return "this needs root"
	}
	return ""
}

// report prints err as the one line that it is, and returns the exit code.
func report(w io.Writer, format, verb string, err error) int {
	var code exitCode
	if errors.As(err, &code) {
		return int(code)
	}
	message := oneLine(withoutVerb(err.Error(), verb))
	hint := oneLine(hintOf(err))
	if format == "json" {
		line, _ := json.Marshal(struct { // of strings: cannot fail
			Level   string `json:"level"`
			Verb    string `json:"verb,omitempty"`
			Kind    string `json:"kind"`
			Message string `json:"message"`
			Hint    string `json:"hint,omitempty"`
		}{"error", verb, kindOf(err), message, hint})
		fmt.Fprintf(w, "%s\n", line)
		return exitGantry
	}
	prefix := "gantry: "
	if verb != "" {
		prefix += verb + ": "
	}
	fmt.Fprintf(w, "%s%s\n", prefix, message)
	if hint != "" {
		fmt.Fprintf(w, "gantry: hint: %s\n", hint)
	}
	return exitGantry
}

// withoutVerb: what fails to fetch says so itself, as does each of several.
func withoutVerb(message, verb string) string {
	lines := strings.Split(message, "\n")
	for i := range lines {
		lines[i] = strings.TrimPrefix(lines[i], verb+" ")
	}
	return strings.Join(lines, "\n")
}

// oneLine joins the lines of a joined error, quotes what a terminal would act on, and takes the middle out of what nobody reads.
func oneLine(s string) string {
	const most = 2000
	s = printable.Text(strings.ReplaceAll(strings.TrimSpace(s), "\n", "; "))
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most/2], "") + "..." + strings.ToValidUTF8(s[len(s)-most/2:], "")
}

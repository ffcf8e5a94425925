// Package report says what the user has to know, a line each on stderr: for the programs that gantry becomes, which speak as it does.
//
// It knows the two forms of --log-format, and nothing of what failed. Its invariant: one line, that no terminal obeys.
package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods/printable"
)

// JSONFlag is --log-format=json of gantry, handed on.
const JSONFlag = "--log-format=json"

// Reporter writes the lines.
type Reporter struct {
	To   io.Writer
	JSON bool
	Verb string // what the user asked for: "run"
}

// Warn says what is not as it should be, and goes on.
func (r Reporter) Warn(message string) {
	if r.JSON {
		r.line(line{Level: "warning", Message: oneLine(message)})
		return
	}
	fmt.Fprintf(r.To, "gantry: warning: %s\n", oneLine(message))
}

// Fail says why the program ends with code.
func (r Reporter) Fail(code int, err error) {
	if r.JSON {
		r.line(line{Level: "error", Verb: r.Verb, Kind: kindOf(code, err), Message: oneLine(err.Error())})
		return
	}
	fmt.Fprintf(r.To, "gantry: %s: %s\n", r.Verb, oneLine(err.Error()))
}

// line has the fields of gantry's own lines.
type line struct {
	Level   string `json:"level"`
	Verb    string `json:"verb,omitempty"`
	Kind    string `json:"kind,omitempty"`
	Message string `json:"message"`
}

func (r Reporter) line(v line) {
	data, err := json.Marshal(v)
	if err == nil {
		_, _ = r.To.Write(append(data, '\n'))
	}
}

// kindOf is one of the kinds of gantry's errors, for scripts that branch.
func kindOf(code int, err error) string {
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return "no-space"
	case code == 127: // the app's program is not in its image
		return "not-found"
	case code == 126: // it cannot be executed
		return "config"
	}
	return "internal"
}

// oneLine joins the lines of a joined error. An image's program may be called as no terminal should be told.
func oneLine(s string) string {
	return printable.Text(strings.ReplaceAll(strings.TrimSpace(s), "\n", "; "))
}

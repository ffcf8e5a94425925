package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods/printable"
)

// jsonFlag is --log-format=json of gantry, handed on.
const jsonFlag = "--log-format=json"

// reporter says what the user has to know, a line each, as gantry does.
type reporter struct {
	to   io.Writer
	json bool
}

func (r reporter) warn(message string) {
	if r.json {
		r.line(report{Level: "warning", Message: oneLine(message)})
		return
	}
	fmt.Fprintf(r.to, "gantry: warning: %s\n", oneLine(message))
}

func (r reporter) fail(code int, err error) {
	if r.json {
		r.line(report{Level: "error", Verb: "run", Kind: kindOf(code, err), Message: oneLine(err.Error())})
		return
	}
	fmt.Fprintf(r.to, "gantry: run: %s\n", oneLine(err.Error()))
}

// report has the fields of gantry's own lines.
type report struct {
	Level   string `json:"level"`
	Verb    string `json:"verb,omitempty"`
	Kind    string `json:"kind,omitempty"`
	Message string `json:"message"`
}

func (r reporter) line(v report) {
	data, err := json.Marshal(v)
	if err == nil {
		_, _ = r.to.Write(append(data, '\n'))
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

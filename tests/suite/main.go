// Command suite runs `go test` and ends with what matters: each test that failed, with the end of what it said, and each that was
// skipped, with its reason.
//
// It knows the events of `go test -json` (go doc test2json). It judges nothing: its exit code is go test's, and it tries nothing again.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
)

func main() {
	cmd := exec.Command("go", append([]string{"test", "-json"}, os.Args[1:]...)...)
	cmd.Stderr = os.Stderr
	events, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "suite:", err)
		os.Exit(1)
	}
	r := newReport(os.Stdout)
	r.read(events)
	err = cmd.Wait()
	r.end()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		os.Exit(max(exit.ExitCode(), 1)) // -1 where a signal ended it
	case err != nil || r.failed():
		fmt.Fprintln(os.Stderr, "suite: go test did not say that it failed:", err)
		os.Exit(1)
	}
}

// event is one of `go test -json`.
type event struct {
	Action, Package, Test, Output, ImportPath string
}

// report collects what tests say, prints a line for each package when it is over, and all of those that failed.
type report struct {
	out             io.Writer
	said            map[string][]string // by test, "" being the package itself
	failures, skips []string            // "package test", in the order of their end
}

func newReport(out io.Writer) *report { return &report{out: out, said: map[string][]string{}} }

func key(e event) string { return strings.TrimSpace(e.Package + e.ImportPath + " " + e.Test) }

func (r *report) failed() bool { return len(r.failures) > 0 }

func (r *report) read(events io.Reader) {
	lines := bufio.NewReader(events)
	for {
		line, err := lines.ReadBytes('\n')
		var e event
		switch {
		case len(line) == 0 && err != nil:
			return
		case json.Unmarshal(line, &e) != nil: // go's own words
			fmt.Fprintf(r.out, "%s", line)
		default:
			r.take(e)
		}
	}
}

func (r *report) take(e event) {
	k := key(e)
	switch e.Action {
	case "output", "build-output":
		if frame(e.Output) {
			return
		}
		r.said[k] = append(r.said[k], e.Output)
	case "skip":
		if e.Test != "" {
			r.skips = append(r.skips, k)
		}
	case "fail", "build-fail":
		r.failures = append(r.failures, k)
		for _, line := range r.said[k] {
			fmt.Fprint(r.out, line)
		}
	case "pass":
		if e.Test == "" { // the last line is go's verdict
			fmt.Fprint(r.out, lastLine(r.said[k]))
		} else {
			delete(r.said, k)
		}
	}
}

// frame says that a line only tells where a test is.
func frame(line string) bool {
	for _, word := range []string{"=== RUN", "=== PAUSE", "=== CONT", "=== NAME"} {
		if strings.HasPrefix(line, word) {
			return true
		}
	}
	return false
}

func lastLine(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return lines[len(lines)-1]
}

// shown are the last lines of a failed test that the end repeats: logs of CI show the end alone.
const shown = 60

// end lists skipped and failed tests. Of failed ones, those that have a part which failed said it there.
func (r *report) end() {
	for _, k := range r.skips {
		fmt.Fprintf(r.out, "skipped: %s: %s\n", k, strings.TrimSpace(strings.Join(first(r.said[k], 2), " ")))
	}
	for _, k := range r.failures {
		if slices.ContainsFunc(r.failures, func(other string) bool { return strings.HasPrefix(other, k+"/") || strings.HasPrefix(other, k+" ") }) {
			continue
		}
		said := strings.Split(strings.TrimRight(strings.Join(r.said[k], ""), "\n"), "\n")
		if cut := len(said) - shown; cut > 0 {
			said = append([]string{fmt.Sprintf("(%d lines above)", cut)}, said[cut:]...)
		}
		fmt.Fprintf(r.out, "\n== FAILED: %s\n%s\n", k, strings.Join(said, "\n"))
	}
}

func first(lines []string, n int) []string {
	var out []string
	for _, line := range lines[:min(n, len(lines))] {
		out = append(out, strings.TrimSpace(line))
	}
	return out
}

package logs

import (
	"bytes"
	"fmt"
	"time"
)

// Line is one line that an app wrote, or a piece of a long one.
type Line struct {
	Time      time.Time
	Stream    string // "stdout" or "stderr"
	Text      []byte // without its newline
	Partial   bool   // the line goes on in the next piece
	Continued bool   // the piece before was partial
}

// parseLine parses "TIME STREAM F|P TEXT", as Kubernetes' container runtimes write it.
func parseLine(raw []byte) (Line, error) {
	stamp, rest, ok1 := bytes.Cut(raw, []byte(" "))
	stream, rest, ok2 := bytes.Cut(rest, []byte(" "))
	tag, text, _ := bytes.Cut(rest, []byte(" "))
	t, err := time.Parse(time.RFC3339Nano, string(stamp))
	if !ok1 || !ok2 || err != nil || len(tag) != 1 || tag[0] != 'F' && tag[0] != 'P' {
		return Line{}, fmt.Errorf("no log line: %q", raw[:min(len(raw), 80)])
	}
	return Line{Time: t, Stream: string(stream), Text: text, Partial: tag[0] == 'P'}, nil
}

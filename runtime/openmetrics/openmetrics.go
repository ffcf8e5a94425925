// Package openmetrics writes the OpenMetrics text format, version 1.0.0, as a scraper reads it.
//
// It knows nothing of pods. Its invariant: what Write writes is well-formed whatever the values of labels hold, samples of one family stand
// together, and the end is marked, so that half a text is recognised as such.
package openmetrics

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Types of families.
const (
	Gauge   = "gauge"
	Counter = "counter" // its samples get the suffix _total
	Info    = "info"    // its samples get the suffix _info, and the value 1
)

// Family is the samples of one name.
type Family struct {
	Name string // without the suffix that its type adds
	Type string
	Unit string // empty, or what Name ends with: "seconds", "bytes"
	Help string

	samples []sample
}

type sample struct {
	labels []string // name, value, name, value …
	value  float64
}

// Add adds a sample; labels are names and values by turns.
func (f *Family) Add(value float64, labels ...string) {
	f.samples = append(f.samples, sample{labels, value})
}

// Write writes the families that have samples, and the end.
func Write(w io.Writer, families []*Family) error {
	out := bufio.NewWriter(w)
	for _, f := range families {
		if len(f.samples) == 0 {
			continue
		}
		fmt.Fprintf(out, "# TYPE %s %s\n", f.Name, f.Type)
		if f.Unit != "" {
			fmt.Fprintf(out, "# UNIT %s %s\n", f.Name, f.Unit)
		}
		fmt.Fprintf(out, "# HELP %s %s\n", f.Name, escape(f.Help))
		for _, s := range f.samples {
			fmt.Fprintf(out, "%s%s %s\n", f.Name+suffix(f.Type), labelText(s.labels), strconv.FormatFloat(s.value, 'g', -1, 64))
		}
	}
	fmt.Fprintln(out, "# EOF")
	return out.Flush()
}

func suffix(kind string) string {
	switch kind {
	case Counter:
		return "_total"
	case Info:
		return "_info"
	}
	return ""
}

func labelText(labels []string) string {
	var b strings.Builder
	for i := 0; i+1 < len(labels); i += 2 {
		open := ","
		if i == 0 {
			open = "{"
		}
		b.WriteString(open + labels[i] + `="` + escape(labels[i+1]) + `"`)
	}
	if b.Len() > 0 {
		b.WriteByte('}')
	}
	return b.String()
}

// escape keeps a value on its line and within its quotes. The format wants UTF-8.
func escape(s string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(strings.ToValidUTF8(s, "\uFFFD"))
}

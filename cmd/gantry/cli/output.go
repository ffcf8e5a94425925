package cli

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/pflag"

	"github.com/gantryrun/gantry/pods/printable"
)

// writeJSON prints v as one indented document.
func writeJSON(w io.Writer, v any) error { return encodeJSON(w, v, true) }

// encodeJSON prints v as one document. Strings of foreign origin may hold what terminals obey and encoding/json
// leaves as it is (C1 controls, reordering): that is escaped too, which readers of JSON do not notice.
func encodeJSON(w io.Writer, v any, pretty bool) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	if pretty {
		enc.SetIndent("", "  ")
	}
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	if bytes.IndexFunc(b.Bytes(), unsafeInJSON) < 0 {
		_, err := w.Write(b.Bytes())
		return err
	}
	var safe strings.Builder
	for _, r := range b.String() { // outside of strings there is only ASCII
		if unsafeInJSON(r) {
			fmt.Fprintf(&safe, `\u%04x`, r)
		} else {
			safe.WriteRune(r)
		}
	}
	_, err := io.WriteString(w, safe.String())
	return err
}

func unsafeInJSON(r rune) bool { return r != '\n' && printable.Unsafe(r) }

// mustJSON encodes what cannot fail: maps and structs of text.
func mustJSON(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return data
}

func prettyVar(fs *pflag.FlagSet, dst *bool, standard bool) {
	fs.BoolVar(dst, "pretty-print", standard, "indent the JSON")
}

// formatVar defines --format, for isJSON to ask.
func formatVar(fs *pflag.FlagSet, dst *string) {
	oneVar(fs, dst, "format", "text|json", "text or json (default text)", parseFormat)
}

// jsonVar defines --format where there is JSON alone.
func jsonVar(fs *pflag.FlagSet) {
	var format string
	oneVar(fs, &format, "format", "json", "accepted: it is JSON anyway", func(s string) (string, error) {
		if !isJSON(s) {
			return "", withHint(fmt.Errorf("%q: want json", s), "jq takes a field out of JSON")
		}
		return s, nil
	})
	alias(fs, "", "f", "format")
}

func parseFormat(s string) (string, error) {
	if s != "text" && !isJSON(s) {
		return "", withHint(fmt.Errorf("%q: want text or json", s), "--fields says which columns, where there are columns; jq takes a field out of JSON")
	}
	return s, nil
}

func isJSON(format string) bool { return format == "json" || format == "json-pretty" }

// table prints rows below one another.
type table struct {
	fields []string // columns to print, in this order
	legend bool
}

// column is one thing that can be said of a row.
type column[T any] struct {
	name  string
	value func(T) string
}

// newTable checks --fields against the columns there are.
func newTable[T any](columns []column[T], fields string, noLegend bool) (*table, error) {
	t := &table{legend: !noLegend}
	if fields == "" {
		return t, nil
	}
	for f := range strings.SplitSeq(fields, ",") {
		if !slices.ContainsFunc(columns, func(c column[T]) bool { return c.name == f }) {
			return nil, usagef("--fields=%s: there is no field %q: want some of %s", fields, f, strings.Join(columnNames(columns), ","))
		}
		t.fields = append(t.fields, f)
	}
	return t, nil
}

func columnNames[T any](columns []column[T]) []string {
	var names []string
	for _, c := range columns {
		names = append(names, c.name)
	}
	return names
}

// printTable prints rows; what a column says is foreign text.
func printTable[T any](w io.Writer, t *table, columns []column[T], defaults string, rows []T) {
	fields := t.fields
	if fields == nil {
		fields = strings.Split(defaults, ",")
	}
	var text bytes.Buffer // with the blanks of empty cells, which columns are as wide as
	tw := tabwriter.NewWriter(&text, 0, 8, 2, ' ', 0)
	if t.legend {
		fmt.Fprintln(tw, strings.ToUpper(strings.Join(fields, "\t")))
	}
	for _, row := range rows {
		cells := make([]string, len(fields))
		for i, f := range fields {
			c := columns[slices.IndexFunc(columns, func(c column[T]) bool { return c.name == f })]
			cells[i] = strings.ReplaceAll(printable.Text(c.value(row)), "\t", " ")
		}
		fmt.Fprintln(tw, strings.Join(cells, "\t"))
	}
	tw.Flush()
	out := bufio.NewWriter(w)
	defer out.Flush()
	for line := range bytes.Lines(text.Bytes()) {
		fmt.Fprintf(out, "%s\n", bytes.TrimRight(line, " \n"))
	}
}

// ago is a time as people say it.
func ago(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	d := max(0, time.Since(t))
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%d seconds ago", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d minutes ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d hours ago", int(d.Hours()))
	}
	return fmt.Sprintf("%d days ago", int(d.Hours()/24))
}

// stamp is a time as rkt printed it in key=value lines.
func stamp(t time.Time) string { return t.Format("2006-01-02 15:04:05.999 -0700 MST") }

// size is a number of bytes as people say it.
func size(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	f := float64(n)
	i := 0
	for f >= 1024 && i < len(units)-1 {
		f, i = f/1024, i+1
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", f, units[i])
}

// shortID is enough of a digest to name it.
func shortID(id string) string {
	algorithm, hex, ok := strings.Cut(id, ":")
	if !ok || len(hex) < 12 {
		return id
	}
	return algorithm + ":" + hex[:12]
}

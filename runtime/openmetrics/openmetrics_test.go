package openmetrics

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
)

// parse reads text as Prometheus does: series to value.
func parse(t *testing.T, text string) map[string]float64 {
	t.Helper()
	got := map[string]float64{}
	p := textparse.NewOpenMetricsParser([]byte(text), labels.NewSymbolTable())
	for {
		entry, err := p.Next()
		if errors.Is(err, io.EOF) {
			return got
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		if entry == textparse.EntrySeries {
			_, _, value := p.Series()
			var l labels.Labels
			p.Metric(&l)
			got[l.String()] = value
		}
	}
}

func TestWrite(t *testing.T) {
	gauge := &Family{Name: "g_bytes", Type: Gauge, Unit: "bytes", Help: `a "gauge"` + "\nof two lines"}
	gauge.Add(1.5, "name", "a\"b\\c\nd", "other", "\xff")
	gauge.Add(18446744073709551615)
	counter := &Family{Name: "c", Type: Counter, Help: "a counter"}
	counter.Add(7, "x", "y")
	info := &Family{Name: "i", Type: Info, Help: "an info"}
	info.Add(1, "is", "this")
	var out strings.Builder
	if err := Write(&out, []*Family{gauge, {Name: "empty", Type: Gauge}, counter, info}); err != nil {
		t.Fatal(err)
	}
	want := map[string]float64{
		`{__name__="g_bytes", name="a\"b\\c\nd", other="�"}`: 1.5,
		`{__name__="g_bytes"}`:                               18446744073709551615,
		`{__name__="c_total", x="y"}`:                        7,
		`{__name__="i_info", is="this"}`:                     1,
	}
	if diff := cmp.Diff(want, parse(t, out.String())); diff != "" {
		t.Errorf("-want +got:\n%s\n%s", diff, out.String())
	}
	if strings.Contains(out.String(), "empty") {
		t.Error("a family without samples is written")
	}
}

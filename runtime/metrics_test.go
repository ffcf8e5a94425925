package runtime

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
)

// What metrics prints is what Prometheus' own parser reads.
func TestWriteMetrics(t *testing.T) {
	r := testRuntime(t)
	ref := testImage(t)
	fake(t, r, "supervise")
	p := prepare(t, r, ref)
	if err := r.Start(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	pod, err := r.Pods().Open(p.UUID)
	if err != nil {
		t.Fatal(err)
	}
	defer pod.Close()
	defer func() { _ = Stop(t.Context(), pod, StopOptions{Force: true}) }()
	var out strings.Builder
	if err := WriteMetrics(&out, r.Pods()); err != nil {
		t.Fatal(err)
	}
	seen := map[string]float64{}
	parser := textparse.NewOpenMetricsParser([]byte(out.String()), labels.NewSymbolTable())
	for {
		entry, err := parser.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, out.String())
		}
		if entry == textparse.EntrySeries {
			series, _, value := parser.Series()
			seen[string(series)] = value
		}
	}
	for series, want := range map[string]float64{
		`gantry_pods{state="running"}`:                       1,
		`gantry_pods{state="exited"}`:                        0,
		`gantry_pod_ready{pod="` + p.UUID + `"}`:             1,
		`gantry_app_running{pod="` + p.UUID + `",app="app"}`: 0, // the fake runs none
	} {
		if got, ok := seen[series]; !ok || got != want {
			t.Errorf("%s: %v, %v; want %v", series, got, ok, want)
		}
	}
	if t.Failed() {
		t.Log(out.String())
	}
}

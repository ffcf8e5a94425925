package runtime

import (
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantryrun/gantry/image"
	"github.com/gantryrun/gantry/runtime/bundle"
)

// TestLongStrings: what execve would refuse is refused before there is a pod.
func TestLongStrings(t *testing.T) {
	for n, ok := range map[int]bool{maxString: true, maxString + 1: false} {
		long := "A=" + strings.Repeat("x", n-2)
		for _, p := range []*specs.Process{{Env: []string{"B=", long}}, {Args: []string{"b", long}}} {
			if err := checkStrings(p); (err == nil) != ok || err != nil && len(err.Error()) > 200 {
				t.Errorf("%d bytes: %v", n, err)
			}
		}
	}
	r, ref := testRuntime(t), testImage(t)
	req := request(ref)
	req.Env.Set = []bundle.EnvVar{{Name: "LONG", Value: strings.Repeat("x", maxString)}}
	if _, err := r.Prepare(t.Context(), req); err == nil || !strings.Contains(err.Error(), `environment variable "LONG"`) {
		t.Errorf("prepare: %v", err)
	}
	if uuids, err := r.Pods().UUIDs(); err != nil || len(uuids) != 0 {
		t.Errorf("left: %v %v", uuids, err)
	}
}

// TestWarnImage: one line for each thing in an image's configuration that is left out.
func TestWarnImage(t *testing.T) {
	var said []string
	r := &Runtime{Warn: func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }}
	img := &usedImage{Image: &image.Image{}}
	img.Config.Config.StopSignal, img.Config.Config.Env = "SIGFOO", []string{"A=b", "N=\x00", "="}
	r.warnImage(&AppRequest{}, img)
	if len(said) != 3 || !strings.Contains(said[0], "SIGFOO") {
		t.Errorf("%q", said)
	}
}

package launch_test

import (
	"testing"
)

func superviseAndHang() int { return 0 }

func TestExitCode(t *testing.T) {
	p := newPod(t)
	if code, out := p.run(nil, "sh", "-c", "echo hello; exit 7"); code != 7 || out != "hello\n" {
		t.Errorf("got exit code %d and %q", code, out)
	}
}

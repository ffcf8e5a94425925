package e2e

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/tests/box"
	"github.com/gantryrun/gantry/tests/build"
)

// Who ends gantry while an image comes in has ended the fetch, however that was done: a registry that sends a byte now and then, without
// an end, does not keep gantry-fetch.
func TestEndOfFetch(t *testing.T) {
	if !box.Enter(t, build.Env(build.Dir(t))) {
		return
	}
	// What our caller ignores, a hangup under nohup, gantry would ignore, too.
	signal.Notify(make(chan os.Signal, 1), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	h := newHost(t)
	for name, tc := range map[string]struct {
		signal syscall.Signal
		all    bool // as a terminal, and systemd, send it: to gantry-fetch, too
		code   int
	}{
		"SIGKILL": {unix.SIGKILL, false, -1}, "SIGINT": {unix.SIGINT, false, 130}, "SIGINT to all": {unix.SIGINT, true, 130},
		"SIGTERM to all": {unix.SIGTERM, true, 143}, "SIGHUP to all": {unix.SIGHUP, true, 129},
	} {
		t.Run(name, func(t *testing.T) {
			asked := make(chan bool, 100)
			registry := httptest.NewServer(endless(asked))
			defer registry.Close()
			var errs bytes.Buffer
			cmd := h.command(t, "fetch", strings.TrimPrefix(registry.URL, "http://")+"/app:1")
			cmd.Stderr = &errs
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			<-asked
			pid := cmd.Process.Pid
			if tc.all {
				pid = -pid
			}
			if err := unix.Kill(pid, tc.signal); err != nil {
				t.Fatal(err)
			}
			var ended *exec.ExitError
			if err := cmd.Wait(); !errors.As(err, &ended) || ended.ExitCode() != tc.code {
				t.Errorf("gantry ended with %v, want code %d\n%s", err, tc.code, errs.String())
			}
			said := errs.String()
			if tc.code > 0 && (strings.Count(said, "\n") != 1 || !strings.HasSuffix(said, "interrupted by "+unix.SignalName(tc.signal)+"\n")) || tc.code < 0 && said != "" {
				t.Errorf("gantry said %q", said)
			}
			if left := survivors(t, h); len(left) > 0 {
				t.Errorf("these live on: %v", left)
			}
		})
	}
	h.check(t)
}

// endless is a registry whose manifests never end.
func endless(asked chan<- bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.URL.Path, "/manifests/") {
			return
		}
		for r.Context().Err() == nil {
			_, _ = w.Write([]byte(" "))
			_ = http.NewResponseController(w).Flush()
			select {
			case asked <- true:
			default:
			}
			time.Sleep(20 * time.Millisecond)
		}
	})
}

package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gantryrun/gantry/tests/box"
	"github.com/gantryrun/gantry/tests/build"
)

// Pods with published ports and an address in two networks come and go at once; every second supervisor is killed at a moment of no choice.
// After gc the host has no link, rule, element, lease or namespace more than before, and every port and address is free again.
func TestNetworkStorm(t *testing.T) {
	if !box.Enter(t, build.Env(build.Dir(t))) {
		return
	}
	const rounds, atOnce = 24, 8
	h := newHost(t)
	image := busyboxArchive(t)
	h.must(t, "fetch", image)
	etc := t.TempDir()
	net := `{"cniVersion": "1.1.0", "name": "lan", "plugins": [{"type": "gantry-ptp", "ipMasq": true, "ipam": {"type": "gantry-leases",
		"ranges": [[{"subnet": "10.40.0.0/24"}], [{"subnet": "fd00:40::/64"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}`
	if err := os.MkdirAll(filepath.Join(etc, "net.d"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(etc, "net.d/lan.conflist"), []byte(net), 0o644); err != nil {
		t.Fatal(err)
	}
	storm := func(slot int) {
		uuidFile := filepath.Join(t.TempDir(), "uuid")
		for n := range rounds / atOnce {
			_ = os.Remove(uuidFile)
			// The same port and address each time, as a unit has that is started again.
			cmd := h.command(t, "--local-config="+etc, "run", "--net=default,lan:IP=10.40.0."+fmt.Sprint(100+slot),
				fmt.Sprintf("--port=%d:80/tcp", 9000+slot), fmt.Sprintf("--port=%d:53/udp", 9000+slot), "--uuid-file-save="+uuidFile, image, "--", "sleep", "300")
			var said strings.Builder
			cmd.Stderr = &said
			if err := cmd.Start(); err != nil {
				t.Error(err)
				return
			}
			if (slot+n)%2 == 0 {
				time.Sleep(rand.N(300 * time.Millisecond)) // anywhere: before the attachment, in it, after it
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
				continue
			}
			over := make(chan struct{})
			go func() { _ = cmd.Wait(); close(over) }()
			ready := func() bool {
				code, _, _ := h.run(t, "status", "--wait-ready=10s", "--uuid-file="+uuidFile)
				return code == 0
			}
			for ended := false; !ended && !ready(); { // the UUID is written before the pod is made
				select {
				case <-over:
					ended = true
				case <-time.After(50 * time.Millisecond):
				}
			}
			_ = cmd.Process.Signal(os.Interrupt)
			<-over
			// The one refusal that is as documented: gc is at work on the dead pod at that moment.
			if strings.Contains(said.String(), "gantry: run:") && !strings.Contains(said.String(), "try again") {
				t.Errorf("pod %d of %d: %s", n, slot, said.String())
			}
		}
	}
	var wg sync.WaitGroup
	for slot := range atOnce {
		wg.Go(func() { storm(slot) })
	}
	for range 5 { // beside it, as the timer does
		h.run(t, "--local-config="+etc, "gc", "--mark-only")
	}
	wg.Wait()
	h.must(t, "--local-config="+etc, "gc", "--grace-period=0s")
	if out := h.must(t, "--local-config="+etc, "network", "check"); !strings.Contains(out, "leftovers        none") {
		t.Errorf("after the storm:\n%s", out)
	}
	h.check(t)
}

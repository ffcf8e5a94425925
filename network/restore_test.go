package network

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gantryrun/gantry/network/netlab"
)

// Whatever somebody takes away of the table, all of it or its rules, is there again as soon as the next pod starts: for the pods that run, too.
func TestNextPodRestoresTheTable(t *testing.T) {
	for _, spoil := range []string{"flush table inet gantry", "delete table inet gantry", "flush ruleset"} {
		t.Run(spoil, func(t *testing.T) {
			h := lab(t)
			out := netlab.NewOutside(t, "uplink0")
			a := start(t, h, attachment(t, "pod-a", "default", "8080:80"))
			blue := ptpNetworks(t, map[string]string{
				"blue": `{"type": "gantry-ptp", "ipMasq": true, "ipam": {"type": "gantry-leases", "ranges": [[{"subnet": "10.40.0.0/24"}], [{"subnet": "fd00:40::/64"}]], "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}}`,
			})
			b := start(t, h, attachmentFrom(t, blue, "pod-b", "blue", "8081:80"))
			serve(t, a, ":80")
			serve(t, b, ":80")
			if text, err := exec.Command("nft", strings.Fields(spoil)...).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, text)
			}
			blocked(t, out, hostPort(out.Host4, 8080))

			c := start(t, h, attachment(t, "pod-c", "default"))
			for port, p := range map[int]*pod{8080: a, 8081: b} {
				if got, err := ask(out, hostPort(out.Host4, port), patience); err != nil || got != out.IP4.String() {
					t.Errorf("port %d of %s: %q, %v", port, p.PodID, got, err)
				}
			}
			reaches(t, c, hostPort(a.ip4(), 80), c.ip4().String())
			blocked(t, c, hostPort(b.ip4(), 80), hostPort(b.ip6(), 80))
			if got := wrong(examine(t, h, false, a, b, c)); got != "" {
				t.Error(got)
			}
		})
	}
}

// A pod that ends while the host is repaired does not get back what it gave back.
func TestRepairOfWhatEnds(t *testing.T) {
	h := lab(t)
	for i := range 30 {
		p := start(t, h, attachment(t, fmt.Sprintf("pod-%d", i), "default", "8080:80"))
		var both sync.WaitGroup
		both.Go(func() {
			time.Sleep(time.Duration(i%10) * 200 * time.Microsecond) // a different moment each time
			_ = h.Repair(t.Context(), p.Attachment)                  // that it is gone is an error
		})
		both.Go(func() { detach(t, h, p, p.Path()) })
		both.Wait()
		p.Close()
		leakCheck(t, h)
	}
}

// The namespace of a pod that is over lives on when somebody has a descriptor of it, and its link with it: check names that, and takes the link
// away. No pod that lives loses its own, though its entry in the register is damaged.
func TestNamespaceThatIsHeld(t *testing.T) {
	h := lab(t)
	live := start(t, h, attachment(t, "11111111-2222-4333-8444-555555555555", "default"))
	held := start(t, h, attachment(t, "pod-b", "default"))
	detach(t, h, held, held.Path())
	if got := wrong(examine(t, h, false, live)); got != "leftovers: the interface "+held.res.HostIfName {
		t.Errorf("found %q", got)
	}
	result, err := os.ReadFile(h.resultFile(live.Attachment))
	if err == nil {
		err = os.WriteFile(h.resultFile(live.Attachment), []byte("{"), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	examine(t, h, true, live)
	if err := os.WriteFile(h.resultFile(live.Attachment), result, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := wrong(examine(t, h, false, live)); got != "" {
		t.Error(got)
	}
	if got := strings.Join(linkNames(t), " "); strings.Contains(got, held.res.HostIfName) || !strings.Contains(got, live.res.HostIfName) {
		t.Errorf("links: %s", got)
	}
}

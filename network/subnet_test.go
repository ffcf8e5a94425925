package network

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/gantryrun/gantry/network/netlab"
	"github.com/gantryrun/gantry/tests/await"
)

// What is sent to a pod that has ended stays on the host, though the host has a default route and somebody out there the pod's addresses: from a
// pod, from the host, and from a client of a port that the killed pod had published.
func TestDeadPodsPacketsStayHere(t *testing.T) {
	for _, network := range []string{"default", "default-restricted"} {
		t.Run(network, func(t *testing.T) {
			h := lab(t)
			out := netlab.NewOutside(t, "uplink0")
			a := start(t, h, attachment(t, "pod-a", network))
			killed := start(t, h, attachment(t, "pod-b", network, "8080:4000/udp"))
			ip4, ip6 := killed.ip4().String(), killed.ip6().String()
			killed.Close()
			await.Until(t, "the killed pod's link to go", func() bool {
				return !strings.Contains(strings.Join(linkNames(t), " "), killed.res.HostIfName)
			})
			out.Run("ip", "addr", "add", ip4+"/32", "dev", "eth0")
			out.Run("ip", "addr", "add", ip6+"/128", "dev", "eth0", "nodad")
			serve(t, out, ":80")
			for who, where := range map[string]doer{"a pod": a, "the host": onHost{}} {
				for _, ip := range []string{ip4, ip6} {
					if got, err := ask(where, hostPort(ip, 80), 300*time.Millisecond); err == nil {
						t.Errorf("%s reaches the killed pod's %s outside, as %s", who, ip, got)
					}
				}
			}
			if got, err := ask(onHost{}, hostPort(out.IP4, 80), patience); err != nil { // that server answers
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

// A network's subnet takes nothing away from a host that has a route of its own there, whichever was first.
func TestHostsOwnRouteToASubnet(t *testing.T) {
	h := lab(t)
	out := netlab.NewOutside(t, "uplink0")
	out.Run("ip", "addr", "add", "172.16.0.1/32", "dev", "eth0")
	serve(t, out, ":80")
	reached := func() bool {
		_, err := ask(onHost{}, "172.16.0.1:80", patience)
		return err == nil
	}
	route := func(how string) {
		t.Helper()
		if text, err := exec.Command("ip", "route", how, "172.16.0.0/12", "via", "192.0.2.2").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
	}
	route("add")
	p := start(t, h, attachment(t, "pod-a", "default"))
	if !reached() {
		t.Error("a route that was there before is hidden")
	}
	if got := wrong(examine(t, h, false, p)); got != "" {
		t.Error(got)
	}
	route("del")
	if got := wrong(examine(t, h, false, p)); !strings.Contains(got, "sends on what is for pods of 172.16.0.0/18 that have ended") {
		t.Errorf("the route is gone: %q", got)
	}
	if got := wrong(examine(t, h, true, p)); got != "" || reached() {
		t.Errorf("repaired: %q", got)
	}
	route("add")
	if got := wrong(examine(t, h, false, p)); !strings.Contains(got, "the host has a route to 172.16.0.0/12 now, and pods' networks hide 172.16.0.0/18 of it") {
		t.Errorf("the route is back: %q", got)
	}
	if got := wrong(examine(t, h, true, p)); got != "" || !reached() {
		t.Errorf("repaired: %q", got)
	}
	route("del")
}

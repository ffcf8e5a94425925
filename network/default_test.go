package network

import (
	"testing"

	"github.com/gantryrun/gantry/network/netlab"
)

func TestDefaultNetworkReaches(t *testing.T) {
	h := lab(t)
	out := netlab.NewOutside(t, "uplink0")
	a := start(t, h, attachment(t, "pod-a", "default"))
	b := start(t, h, attachment(t, "pod-b", "default"))
	serve(t, a, ":80")
	serve(t, out, ":80")
	serve(t, onHost{}, ":81")
	gw4, gw6 := a.res.IPs[0].Gateway, a.res.IPs[1].Gateway

	t.Run("pod to pod", func(t *testing.T) {
		reaches(t, b, hostPort(a.ip4(), 80), b.ip4().String())
		reaches(t, b, hostPort(a.ip6(), 80), b.ip6().String())
	})
	t.Run("host to pod", func(t *testing.T) {
		reaches(t, onHost{}, hostPort(a.ip4(), 80), gw4.String())
		reaches(t, onHost{}, hostPort(a.ip6(), 80), gw6.String())
	})
	t.Run("pod to host", func(t *testing.T) {
		reaches(t, a, hostPort(gw4, 81), a.ip4().String())
		reaches(t, a, hostPort(gw6, 81), a.ip6().String())
	})
	t.Run("pod to outside, as the host", func(t *testing.T) {
		reaches(t, a, hostPort(out.IP4, 80), out.Host4.String())
		reaches(t, a, hostPort(out.IP6, 80), out.Host6.String())
	})
	if t.Failed() {
		t.Log(ruleset(t))
	}
}

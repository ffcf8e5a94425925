package network

import (
	"testing"
	"time"

	"github.com/gantryrun/gantry/network/netlab"
)

func TestDefaultRestrictedHasNoWayOut(t *testing.T) {
	h := lab(t)
	out := netlab.NewOutside(t, "uplink0")
	a := start(t, h, attachment(t, "pod-a", "default-restricted", "8080:80"))
	b := start(t, h, attachment(t, "pod-b", "default-restricted"))
	open := start(t, h, attachment(t, "pod-c", "default"))
	serve(t, a, ":80")
	serve(t, out, ":80")
	serve(t, open, ":80")
	serve(t, onHost{}, ":81")
	gw4, gw6 := a.res.IPs[0].Gateway, a.res.IPs[1].Gateway

	check := func(t *testing.T) {
		blocked(t, a, hostPort(out.IP4, 80), hostPort(out.IP6, 80), hostPort(open.ip4(), 80), hostPort(open.ip6(), 80))
		blocked(t, open, hostPort(a.ip4(), 80), hostPort(a.ip6(), 80))
	}
	t.Run("no route", check)
	t.Run("a route of its own does not help", func(t *testing.T) {
		a.Run("ip", "route", "add", "default", "via", gw4.String())
		a.Run("ip", "route", "add", "default", "via", gw6.String())
		out.Run("ip", "route", "add", "172.16.64.0/18", "via", out.Host4.String())
		out.Run("ip", "route", "add", "fd67:616e:7472:7a::/64", "via", out.Host6.String())
		check(t)
		a.Run("ip", "route", "del", "default")
		a.Run("ip", "-6", "route", "del", "default")
	})
	t.Run("its host and its like", func(t *testing.T) {
		reaches(t, b, hostPort(a.ip4(), 80), b.ip4().String())
		reaches(t, b, hostPort(a.ip6(), 80), b.ip6().String())
		reaches(t, a, hostPort(gw4, 81), a.ip4().String())
		reaches(t, onHost{}, hostPort(a.ip6(), 80), gw6.String())
	})
	t.Run("published", func(t *testing.T) {
		reaches(t, out, hostPort(out.Host4, 8080), gw4.String())
		reaches(t, out, hostPort(out.Host6, 8080), gw6.String())
		reaches(t, onHost{}, "127.0.0.1:8080", gw4.String())
	})
	if t.Failed() {
		t.Log(ruleset(t))
	}
}

func TestSpoofedSourceIsDropped(t *testing.T) {
	h := lab(t)
	netlab.NewOutside(t, "uplink0")
	a := start(t, h, attachment(t, "pod-a", "default"))
	b := start(t, h, attachment(t, "pod-b", "default"))
	gw4, gw6 := a.res.IPs[0].Gateway, a.res.IPs[1].Gateway
	if n := sendsUDP(t, a, onHost{}, a.ip4().String(), gw4.String(), patience); n != 1 {
		t.Errorf("%d packets of its own came through, want 1", n)
	}
	if n := sendsUDP(t, a, onHost{}, a.ip6().String(), gw6.String(), patience); n != 1 {
		t.Errorf("%d packets of its own came through, want 1", n)
	}
	// a takes b's address, and one of the outside, as its own.
	for _, ip := range []string{b.ip4().String() + "/32", "192.0.2.77/32", b.ip6().String() + "/128", "2001:db8::77/128"} {
		a.Run("ip", "addr", "add", ip, "dev", "eth0", "nodad")
	}
	for _, test := range []struct{ src, dst string }{
		{b.ip4().String(), gw4.String()}, {"192.0.2.77", gw4.String()},
		{b.ip6().String(), gw6.String()}, {"2001:db8::77", gw6.String()},
	} {
		if n := sendsUDP(t, a, onHost{}, test.src, test.dst, 200*time.Millisecond); n != 0 {
			t.Errorf("%d packets from %s came through", n, test.src)
		}
	}
}

package network

import (
	"errors"
	"strings"
	"testing"

	"github.com/gantryrun/gantry/network/lease"
	"github.com/gantryrun/gantry/network/netlab"
	"github.com/gantryrun/gantry/network/rules"
)

func TestPublishedPort(t *testing.T) {
	h := lab(t)
	out := netlab.NewOutside(t, "uplink0")
	a := start(t, h, attachment(t, "pod-a", "default", "8080:80", "127.0.0.1:9090:80", "[2001:db8::1]:7070:80"))
	b := start(t, h, attachment(t, "pod-b", "default"))
	serve(t, a, ":80")
	gw4, gw6 := a.res.IPs[0].Gateway, a.res.IPs[1].Gateway

	t.Run("from outside", func(t *testing.T) {
		reaches(t, out, hostPort(out.Host4, 8080), out.IP4.String())
		reaches(t, out, hostPort(out.Host6, 8080), out.IP6.String())
		reaches(t, out, hostPort(out.Host6, 7070), out.IP6.String())
	})
	t.Run("from the host itself", func(t *testing.T) {
		reaches(t, onHost{}, "127.0.0.1:8080", gw4.String())
		reaches(t, onHost{}, "127.0.0.1:9090", gw4.String())
		reaches(t, onHost{}, hostPort(out.Host4, 8080), out.Host4.String())
		reaches(t, onHost{}, hostPort(out.Host6, 8080), out.Host6.String())
	})
	t.Run("from another pod", func(t *testing.T) {
		reaches(t, b, hostPort(out.Host4, 8080), b.ip4().String())
		reaches(t, b, hostPort(gw6, 8080), b.ip6().String())
	})
	t.Run("hairpin", func(t *testing.T) {
		reaches(t, a, hostPort(out.Host4, 8080), gw4.String())
		reaches(t, a, hostPort(out.Host6, 8080), gw6.String())
	})
	t.Run("bound to its address only", func(t *testing.T) {
		blocked(t, out, hostPort(out.Host4, 9090))
		blocked(t, b, hostPort(gw4, 9090))
		blocked(t, out, hostPort(out.Host4, 7070))
		blocked(t, onHost{}, hostPort(gw6, 7070), "[::1]:8080")
	})
	t.Run("for the host's addresses only", func(t *testing.T) {
		// CVE-2025-67499: port 8080 of somebody else is not the pod's port.
		serve(t, out, ":8080")
		reaches(t, a, hostPort(out.IP4, 8080), out.Host4.String())
		reaches(t, onHost{}, hostPort(out.IP4, 8080), out.Host4.String())
		reaches(t, b, hostPort(out.IP6, 8080), out.Host6.String())
	})
	if t.Failed() {
		t.Log(ruleset(t))
	}
}

func TestLoopbackOfHostIsOutOfReach(t *testing.T) {
	h := lab(t)
	out := netlab.NewOutside(t, "uplink0")
	a := start(t, h, attachment(t, "pod-a", "default", "8080:80", "127.0.0.1:9090:80"))
	serve(t, a, ":80")
	serve(t, onHost{}, "127.0.0.1:5432")
	serve(t, onHost{}, "[::1]:5432")
	for _, from := range []*netlab.Namespace{a.Namespace, out.Namespace} {
		gw4, gw6 := a.res.IPs[0].Gateway.String(), a.res.IPs[1].Gateway.String()
		if from == out.Namespace {
			gw4, gw6 = out.Host4.String(), out.Host6.String()
		}
		// As a hostile pod would (CVE-2020-8558): route the host's loopback by way of the host.
		from.Run("ip", "link", "set", "lo", "down")
		from.Run("ip", "route", "add", "127.0.0.0/8", "via", gw4, "dev", "eth0")
		from.Do(func() {
			if err := writeSysctl("ipv4/conf/eth0/route_localnet", "1"); err != nil {
				t.Error(err)
			}
		})
		blocked(t, from, "127.0.0.1:5432", "127.0.0.1:9090")
		from.Run("ip", "-6", "route", "add", "::1", "via", gw6, "dev", "eth0")
		blocked(t, from, "[::1]:5432")
	}
}

func TestPortOfAnotherPod(t *testing.T) {
	h := lab(t)
	start(t, h, attachment(t, "pod-a", "default", "8080:80"))
	p := netlab.New(t)
	b := attachment(t, "pod-b", "default", "9090:80", "8080:81")
	_, err := h.Attach(t.Context(), b, p.Path())
	taken, ok := errors.AsType[*InUseError](err)
	if !ok || taken.PodID != "pod-a" || taken.What != "port 0.0.0.0:8080/tcp" || !errors.Is(err, rules.ErrPortTaken) {
		t.Errorf("attach: %v, want that 0.0.0.0:8080/tcp is pod-a's", err)
	}
	// The failed one has been taken back, and has taken nothing of the other.
	if err := h.Detach(t.Context(), b, ""); err != nil {
		t.Error(err)
	}
	set := ruleset(t)
	if !strings.Contains(set, `tcp . 8080 comment "pod-a" : 172.16.28.2 . 80`) || strings.Contains(set, "9090") {
		t.Errorf("rules after a failed attach:\n%s", set)
	}
}

func TestAddressOfAnotherPod(t *testing.T) {
	h := lab(t)
	a := start(t, h, attachment(t, "pod-a", "default"))
	p := netlab.New(t)
	b := attachment(t, "pod-b", "default:IP="+a.ip4().String())
	_, err := h.Attach(t.Context(), b, p.Path())
	taken, ok := errors.AsType[*InUseError](err)
	if !ok || taken.PodID != "pod-a" || taken.What != "address "+a.ip4().String() || !errors.Is(err, lease.ErrTaken) {
		t.Errorf("attach: %v, want that %s is pod-a's", err, a.ip4())
	}
	// Once the owner is detached, by whomever, the same attachment works.
	detach(t, h, a, "")
	if got := start(t, h, b); got.ip4() != a.ip4() {
		t.Errorf("pod-b has %s, want %s", got.ip4(), a.ip4())
	}
}

func TestUnpublishedPortsAreClosedToNeighbours(t *testing.T) {
	h := lab(t)
	out := netlab.NewOutside(t, "uplink0")
	a := start(t, h, attachment(t, "pod-a", "default", "8080:80"))
	serve(t, a, ":80")
	serve(t, a, ":81")
	out.Run("ip", "route", "add", "172.16.0.0/18", "via", out.Host4.String())
	out.Run("ip", "route", "add", "fd67:616e:7472:79::/64", "via", out.Host6.String())
	blocked(t, out, hostPort(a.ip4(), 80), hostPort(a.ip4(), 81), hostPort(a.ip6(), 81))
	reaches(t, out, hostPort(out.Host4, 8080), out.IP4.String())
}

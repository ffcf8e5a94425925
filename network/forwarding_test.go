package network

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gantryrun/gantry/network/netlab"
)

func TestForwardingIsRememberedAndReset(t *testing.T) {
	h := lab(t)
	out := netlab.NewOutside(t, "uplink0")
	_ = out
	was := map[string]string{
		"ipv4/ip_forward": "0", "ipv6/conf/all/forwarding": "0", "ipv6/conf/uplink0/accept_ra": "1",
	}
	for name, value := range was {
		if err := writeSysctl(name, value); err != nil {
			t.Fatal(err)
		}
	}
	read := func() map[string]string {
		now := map[string]string{}
		for name := range was {
			var err error
			if now[name], err = readSysctl(name); err != nil {
				t.Error(err)
			}
		}
		return now
	}
	p := start(t, h, attachment(t, "pod-a", "default"))
	// A host that learns its default route from its router must go on to do so.
	want := map[string]string{
		"ipv4/ip_forward": "1", "ipv6/conf/all/forwarding": "1", "ipv6/conf/uplink0/accept_ra": "2",
	}
	if diff := cmp.Diff(want, read()); diff != "" {
		t.Error(diff)
	}
	if err := h.Reset(true); !errors.Is(err, ErrInUse) {
		t.Errorf("reset under a pod: %v", err)
	}
	detach(t, h, p, "")
	for range 2 {
		if err := h.Reset(true); err != nil {
			t.Error(err)
		}
	}
	if diff := cmp.Diff(was, read()); diff != "" {
		t.Error(diff)
	}
	if _, err := os.Stat(h.stateFile()); err == nil {
		t.Error("host.json is left")
	}
}

func TestResetLeavesWhatOthersChanged(t *testing.T) {
	h := lab(t)
	if err := writeSysctl("ipv4/ip_forward", "0"); err != nil {
		t.Fatal(err)
	}
	if err := h.enableForwarding(true, false); err != nil {
		t.Fatal(err)
	}
	// Somebody switches it off, then on again is not told from ours; off stays off.
	if err := writeSysctl("ipv4/ip_forward", "0"); err != nil {
		t.Fatal(err)
	}
	if err := h.Reset(true); err != nil {
		t.Fatal(err)
	}
	if now, err := readSysctl("ipv4/ip_forward"); now != "0" || err != nil {
		t.Errorf("ip_forward %q, %v", now, err)
	}
}

func TestPodSysctls(t *testing.T) {
	h := lab(t)
	p := start(t, h, attachment(t, "pod-a", "default"))
	p.Do(func() {
		for name, want := range map[string]string{
			"ipv4/ping_group_range": "0\t2147483647", "ipv4/ip_unprivileged_port_start": "0",
			"ipv6/conf/all/accept_ra": "0", "ipv6/conf/eth0/accept_ra": "0", "ipv6/conf/eth0/accept_dad": "0",
		} {
			if got, err := readSysctl(name); got != want || err != nil {
				t.Errorf("%s is %q, %v, want %q", name, got, err, want)
			}
		}
	})
	serve(t, p, "127.0.0.1:99")
	reaches(t, p, "127.0.0.1:99", "127.0.0.1")
	for range 2 { // idempotent
		if err := Loopback(p.Path()); err != nil {
			t.Error(err)
		}
	}
	if err := Loopback("/proc/self/fd/12345"); err == nil {
		t.Error("no error for a namespace that is not there")
	}
}

func TestHostWithoutIPv6(t *testing.T) {
	h := lab(t)
	if err := writeSysctl("ipv6/conf/all/disable_ipv6", "1"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := writeSysctl("ipv6/conf/all/disable_ipv6", "0"); err != nil {
			t.Error(err)
		}
	})
	p := start(t, h, attachment(t, "pod-a", "default", "8080:80"))
	if len(p.res.IPs) != 1 || !p.ip4().IsValid() {
		t.Errorf("addresses %v, want one of IPv4", p.res.IPs)
	}
	serve(t, p, ":80")
	reaches(t, onHost{}, "127.0.0.1:8080", "172.16.28.1")
	_, err := h.Attach(t.Context(), attachment(t, "pod-b", "default:IP=fd67:616e:7472:79::99"), netlab.New(t).Path())
	if err == nil || !strings.Contains(err.Error(), "fd67:616e:7472:79::99 is asked for, and this host has no IPv6") {
		t.Errorf("attach with an address of IPv6: %v", err)
	}
}

package network

import (
	"errors"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/network/netlab"
	"github.com/gantryrun/gantry/tests/await"
)

// What is looked up in a pod's namespace is in no cache that the host's sysctls are looked up in.
func TestPodProcIsNotTheHosts(t *testing.T) {
	netlab.Require(t)
	proc, err := podProc()
	if err != nil {
		t.Fatal(err)
	}
	defer proc.Close()
	var own, host unix.Stat_t
	if err := unix.Fstat(int(proc.Fd()), &own); err != nil {
		t.Fatal(err)
	}
	if err := unix.Stat("/proc", &host); err != nil {
		t.Fatal(err)
	}
	if own.Dev == host.Dev {
		t.Error("the pod's namespace is looked up in the host's proc")
	}
}

// Whoever has no capability may ping from a pod, and listen on its low ports.
func TestPingAndLowPortsNeedNoCapability(t *testing.T) {
	h := lab(t)
	p := start(t, h, attachment(t, "pod-a", "default"))
	for _, ip := range p.res.IPs {
		fd := -1
		p.Do(func() { withoutCapabilities(t, func() { fd = pingSocket(t, ip.Gateway) }) })
		if fd < 0 {
			continue
		}
		echo, to := byte(8), unix.Sockaddr(nil)
		if ip.Gateway.Is4() {
			to = &unix.SockaddrInet4{Addr: ip.Gateway.As4()}
		} else {
			echo, to = 128, &unix.SockaddrInet6{Addr: ip.Gateway.As16()}
		}
		await.Success(t, "an answer from "+ip.Gateway.String(), func() error {
			if err := unix.Sendto(fd, []byte{echo, 0, 0, 0, 0, 0, 0, 1}, 0, to); err != nil {
				return err
			}
			_, _, err := unix.Recvfrom(fd, make([]byte, 100), unix.MSG_DONTWAIT)
			return err
		})
		_ = unix.Close(fd)
	}
}

// withoutCapabilities runs f on this thread, which has none meanwhile.
func withoutCapabilities(t *testing.T, f func()) {
	t.Helper()
	head := &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var had, none [2]unix.CapUserData
	if err := unix.Capget(head, &had[0]); err != nil {
		t.Fatal(err)
	}
	for i, set := range had {
		none[i] = unix.CapUserData{Permitted: set.Permitted, Inheritable: set.Inheritable}
	}
	if err := unix.Capset(head, &none[0]); err != nil {
		t.Error(err)
		return
	}
	f()
	if err := unix.Capset(head, &had[0]); err != nil {
		t.Error(err)
	}
}

// pingSocket makes a socket for ICMP, and tries to bind another to a low port.
func pingSocket(t *testing.T, to netip.Addr) int {
	t.Helper()
	if fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err == nil {
		_ = unix.Close(fd)
		t.Error("it has CAP_NET_RAW: the test shows nothing")
	}
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = errors.Join(unix.Bind(fd, &unix.SockaddrInet6{Port: 80}), unix.Close(fd))
	}
	if err != nil {
		t.Errorf("bind to port 80: %v", err)
	}
	family, protocol := unix.AF_INET, unix.IPPROTO_ICMP
	if to.Is6() {
		family, protocol = unix.AF_INET6, unix.IPPROTO_ICMPV6
	}
	if fd, err = unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, protocol); err != nil {
		t.Errorf("socket for a ping to %s: %v", to, err)
		return -1
	}
	return fd
}

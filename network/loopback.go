package network

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Loopback brings up lo in the namespace at the path netns and sets the sysctls that every pod's namespace has: ping and
// low ports need no capability, and no router advertisement is believed (CVE-2020-10749, CVE-2020-13401). Idempotent.
func Loopback(netns string) error {
	return inside(netns, func() error {
		if err := setInPod(podSysctls); err != nil {
			return err
		}
		if err := bringUpLo(); err != nil {
			return fmt.Errorf("bring up lo: %w", err)
		}
		return nil
	})
}

// bringUpLo asks in the old way, without netlink: it is all that most pods without a network need, and spares each of them the memory.
func bringUpLo() error {
	socket, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(socket) }()
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(socket, unix.SIOCGIFFLAGS, lo); err != nil {
		return err
	}
	lo.SetUint16(lo.Uint16() | unix.IFF_UP)
	return unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, lo)
}

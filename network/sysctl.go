package network

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// setting is one sysctl below /proc/sys/net. The kernel resolves the path in the network namespace of the thread.
type setting struct {
	name  string // with slashes
	value string
}

// podSysctls are what every pod's namespace has. They are set before any interface but lo exists, so default applies to
// all that come. None is of those for which the kernel wants the lock of links and addresses, see hostLinkSysctls.
var podSysctls = []setting{
	{"ipv4/ping_group_range", "0 2147483647"},   // ping without CAP_NET_RAW
	{"ipv4/ip_unprivileged_port_start", "0"},    // low ports without CAP_NET_BIND_SERVICE
	{"ipv6/conf/all/accept_ra", "0"},            // a neighbour must not become the pod's router
	{"ipv6/conf/default/accept_ra", "0"},        //
	{"ipv6/conf/default/accept_dad", "0"},       // the host hands out addresses; nobody else has them
	{"ipv6/conf/default/disable_ipv6", "0"},     // inherited from the host on some
	{"ipv4/conf/default/accept_redirects", "0"}, //
	{"ipv6/conf/default/accept_redirects", "0"}, //
	{"ipv4/conf/default/accept_source_route", "0"},
}

// setInPod sets them in the namespace that the thread has entered. What the kernel does not have (IPv6 switched off) is left out.
func setInPod(all []setting) error {
	proc, err := podProc()
	if err != nil {
		return err
	}
	defer func() { _ = proc.Close() }()
	for _, s := range all {
		if err := writeSysctlIn(proc, s.name, s.value); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// podProc gives a proc file system for what is looked up in a pod's namespace, mounted nowhere: it ends with its file. Names looked up in the
// host's stay in the kernel's cache as long as that namespace lives, the net/ipv4 of each pod beside all others, and are compared one by one: with
// 1,000 pods, each sysctl of the host took 1 ms. Who may not mount (or has a kernel before 5.8, with one proc for all) gets the host's.
func podProc() (*os.File, error) {
	if fs, err := unix.Fsopen("proc", unix.FSOPEN_CLOEXEC); err == nil {
		defer func() { _ = unix.Close(fs) }()
		if unix.FsconfigCreate(fs) == nil {
			if mnt, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC); err == nil {
				return os.NewFile(uintptr(mnt), "proc"), nil
			}
		}
	}
	return os.Open("/proc")
}

// writeSysctl sets one in the namespace of the host.
func writeSysctl(name, value string) error {
	proc, err := os.Open("/proc")
	if err != nil {
		return err
	}
	defer func() { _ = proc.Close() }()
	return writeSysctlIn(proc, name, value)
}

func writeSysctlIn(proc *os.File, name, value string) error {
	fd, err := unix.Openat(int(proc.Fd()), "sys/net/"+name, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		_, err = unix.Write(fd, []byte(value))
		err = errors.Join(err, unix.Close(fd))
	}
	if err != nil {
		return fmt.Errorf("set sysctl net.%s: %w", strings.ReplaceAll(name, "/", "."), err)
	}
	return nil
}

func readSysctl(name string) (string, error) {
	data, err := os.ReadFile("/proc/sys/net/" + name)
	if err != nil {
		return "", fmt.Errorf("read sysctl net.%s: %w", strings.ReplaceAll(name, "/", "."), err)
	}
	return string(bytes.TrimSpace(data)), nil
}

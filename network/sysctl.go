package network

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// setting is one sysctl below /proc/sys/net. The kernel resolves the path in the network namespace of the thread.
type setting struct {
	name  string // with slashes
	value string
}

// podSysctls are what every pod's namespace has. They are set before any interface but lo exists, so default applies to
// all that come.
var podSysctls = []setting{
	{"ipv4/ping_group_range", "0 2147483647"},   // ping without CAP_NET_RAW
	{"ipv4/ip_unprivileged_port_start", "0"},    // low ports without CAP_NET_BIND_SERVICE
	{"ipv6/conf/all/accept_ra", "0"},            // a neighbour must not become the pod's router
	{"ipv6/conf/default/accept_ra", "0"},        //
	{"ipv6/conf/default/accept_dad", "0"},       // the host hands out addresses; nobody else has them
	{"ipv6/conf/default/disable_ipv6", "0"},     // inherited from the host on some
	{"ipv6/conf/default/addr_gen_mode", "0"},    //
	{"ipv4/conf/default/accept_redirects", "0"}, //
	{"ipv6/conf/default/accept_redirects", "0"}, //
	{"ipv4/conf/default/accept_source_route", "0"},
}

// sysctls sets them in the namespace that the thread is in. What the kernel does not have (IPv6 switched off) is left out.
func (ns *namespace) sysctls(all []setting) error {
	for _, s := range all {
		if err := writeSysctl(s.name, s.value); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func writeSysctl(name, value string) error {
	f, err := os.OpenFile("/proc/sys/net/"+name, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("set sysctl net.%s: %w", strings.ReplaceAll(name, "/", "."), err)
	}
	_, err = f.WriteString(value)
	if err = errors.Join(err, f.Close()); err != nil {
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

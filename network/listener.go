package network

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/network/rules"
)

// checkListeners refuses to publish a port on which a program of the host listens: its clients would reach the pod from then on,
// without a word. A kernel that is asked to bind the port answers in one step; only if it will not, the lists of sockets are read, since
// a port may also be taken by a connection on its way out, which harms nobody.
func checkListeners(forwards []rules.Forward) error {
	for _, f := range forwards {
		if bound(f) {
			continue
		}
		if addr, found := listener(f); found {
			return fmt.Errorf("publish port %d/%s: a program of the host listens on %s: stop it, or publish another port or address",
				f.HostPort, f.Protocol, netip.AddrPortFrom(addr, f.HostPort))
		}
	}
	return nil
}

// bound says whether the port can be bound, or that this is not to be found out so.
func bound(f rules.Forward) bool {
	typ := map[string]int{"tcp": unix.SOCK_STREAM, "udp": unix.SOCK_DGRAM}[f.Protocol]
	if typ == 0 { // a socket of SCTP would load the protocol, which nobody may need: its list is read at once
		return false
	}
	family, addr := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{Port: int(f.HostPort), Addr: v4Bytes(f.HostIP)})
	if f.HostIP.Is6() {
		family, addr = unix.AF_INET6, &unix.SockaddrInet6{Port: int(f.HostPort), Addr: f.HostIP.As16()}
	}
	fd, err := unix.Socket(family, typ|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return true
	}
	defer func() { _ = unix.Close(fd) }()
	if typ == unix.SOCK_STREAM { // connections that have just ended are nobody's
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	}
	if f.HostIP.Is6() {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
	}
	return !errors.Is(unix.Bind(fd, addr), unix.EADDRINUSE)
}

func v4Bytes(a netip.Addr) (b [4]byte) {
	if a.Is4() {
		b = a.As4()
	}
	return b
}

// listener looks for a socket that the rule of f would hide, and gives the address that it is bound to.
func listener(f rules.Forward) (netip.Addr, bool) {
	for _, s := range listening(f.Protocol) {
		addr := s.Addr().Unmap()
		any6 := addr == netip.IPv6Unspecified() // takes IPv4 too, unless told otherwise
		if s.Port() != f.HostPort || addr.Is4() != f.HostIP.Is4() && !any6 {
			continue
		}
		if f.HostIP.IsUnspecified() || addr.IsUnspecified() || addr == f.HostIP {
			return addr, true
		}
	}
	return netip.Addr{}, false
}

// listening reads the kernel's lists of sockets: all that wait for somebody to come.
func listening(protocol string) []netip.AddrPort {
	if protocol == "sctp" {
		return listeningSCTP()
	}
	state := map[string]string{"tcp": "0A", "udp": "07"}[protocol] // TCP_LISTEN, and TCP_CLOSE, which unconnected ones of UDP have
	var all []netip.AddrPort
	for _, file := range []string{"/proc/net/" + protocol, "/proc/net/" + protocol + "6"} {
		data, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(data)) {
			fields := strings.Fields(line)
			if len(fields) < 4 || fields[3] != state {
				continue
			}
			if addr, port, ok := parseSocket(fields[1]); ok {
				all = append(all, netip.AddrPortFrom(addr, port))
			}
		}
	}
	return all
}

// listeningSCTP reads a list of other columns: state 10 listens, the sixth is the port, the addresses come last. It is not there before
// somebody has used the protocol.
func listeningSCTP() []netip.AddrPort {
	data, err := os.ReadFile("/proc/net/sctp/eps")
	if err != nil {
		return nil
	}
	var all []netip.AddrPort
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) < 9 || fields[3] != "10" {
			continue
		}
		port, err := strconv.ParseUint(fields[5], 10, 16)
		if err != nil {
			continue
		}
		for _, field := range fields[8:] {
			if addr, err := netip.ParseAddr(field); err == nil {
				all = append(all, netip.AddrPortFrom(addr, uint16(port)))
			}
		}
	}
	return all
}

// parseSocket reads "0100007F:1F90": words of the address in the machine's order, and the port.
func parseSocket(s string) (netip.Addr, uint16, bool) {
	words, port, ok := strings.Cut(s, ":")
	raw, err := hex.DecodeString(words)
	n, perr := strconv.ParseUint(port, 16, 16)
	if !ok || err != nil || perr != nil || len(raw)%4 != 0 {
		return netip.Addr{}, 0, false
	}
	var b bytes.Buffer
	for i := 0; i < len(raw); i += 4 {
		_ = binary.Write(&b, binary.NativeEndian, binary.BigEndian.Uint32(raw[i:]))
	}
	addr, ok := netip.AddrFromSlice(b.Bytes())
	return addr, uint16(n), ok
}

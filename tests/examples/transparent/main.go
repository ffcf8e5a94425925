// Command transparent is a proxy that nobody asks for: TCP that was redirected to it goes on to where the client wanted to go, IPv4 or
// IPv6, and each connection is a line on stdout.
//
// It knows the two ports that it listens on, and asks the kernel for the destination (netfilter's SO_ORIGINAL_DST, and
// IP6T_SO_ORIGINAL_DST, which HAProxy does not ask for). It reads nothing of what passes.
package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

func main() {
	over := make(chan error)
	for name, port := range map[string]string{"inbound": ":4143", "outbound": ":4140"} {
		l, err := net.Listen("tcp", port)
		if err != nil {
			fmt.Fprintln(os.Stderr, "transparent:", err)
			os.Exit(1)
		}
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					over <- err
					return
				}
				go serve(name, c.(*net.TCPConn))
			}
		}()
	}
	fmt.Fprintln(os.Stderr, "transparent:", <-over)
	os.Exit(1)
}

// serve passes one connection on.
func serve(name string, c *net.TCPConn) {
	defer func() { _ = c.Close() }()
	to, err := destination(c)
	if err != nil {
		fmt.Printf("%s: no destination: %v\n", name, err)
		return
	}
	if to.String() == c.LocalAddr().String() {
		return // somebody does ask for us, to see whether we are there: we would ask ourselves without end
	}
	server, err := net.Dial("tcp", to.String())
	if err != nil {
		fmt.Printf("%s to %s: %v\n", name, to, err)
		return
	}
	defer func() { _ = server.Close() }()
	fmt.Printf("%s to %s\n", name, to)
	go func() {
		_, _ = io.Copy(server, c)
		_ = server.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(c, server)
}

// destination is where a connection went before it was redirected.
func destination(c *net.TCPConn) (netip.AddrPort, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return netip.AddrPort{}, err
	}
	v4 := c.LocalAddr().(*net.TCPAddr).IP.To4() != nil
	var to netip.AddrPort
	cerr := raw.Control(func(fd uintptr) {
		if v4 {
			var sa unix.RawSockaddrInet4
			if err = original(fd, unix.SOL_IP, unsafe.Pointer(&sa), unix.SizeofSockaddrInet4); err == nil {
				to = netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), port(&sa.Port))
			}
			return
		}
		var sa unix.RawSockaddrInet6
		if err = original(fd, unix.SOL_IPV6, unsafe.Pointer(&sa), unix.SizeofSockaddrInet6); err == nil {
			to = netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), port(&sa.Port))
		}
	})
	if cerr != nil {
		return to, cerr
	}
	return to, err
}

// original asks netfilter; both families' options have the number 80 (linux/netfilter_ipv4.h, linux/netfilter_ipv6/ip6_tables.h).
func original(fd uintptr, level int, addr unsafe.Pointer, size uint32) error {
	const originalDst = 80
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, uintptr(level), originalDst, uintptr(addr), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// port reads a port in network byte order.
func port(p *uint16) uint16 { return binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(p))[:]) }

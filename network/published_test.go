package network

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/network/netlab"
	"github.com/gantryrun/gantry/network/rules"
)

// A port on which the host listens is not published over its head.
func TestPortOnWhichTheHostListens(t *testing.T) {
	tests := map[string]struct {
		network, listens string
		port             string
		refused          string // the address that is named; empty: it is published
	}{
		"every address, both families": {"tcp", ":8080", "8080:80", "[::]:8080"},
		"every address":                {"tcp4", "0.0.0.0:8080", "8080:80", "0.0.0.0:8080"},
		"one address":                  {"tcp4", "127.0.0.1:8080", "8080:80", "127.0.0.1:8080"},
		"one of IPv6":                  {"tcp6", "[::1]:8080", "8080:80", "[::1]:8080"},
		"the same address":             {"tcp4", "192.0.2.1:8080", "192.0.2.1:8080:80", "192.0.2.1:8080"},
		"another address":              {"tcp4", "127.0.0.1:8080", "192.0.2.1:8080:80", ""},
		"another family":               {"tcp6", "[2001:db8::1]:8080", "0.0.0.0:8080:80", ""},
		"both families, IPv4 alone":    {"tcp", ":8080", "192.0.2.1:8080:80", "[::]:8080"},
		"another port":                 {"tcp", ":8081", "8080:80", ""},
		"UDP":                          {"udp", ":5353", "5353:53/udp", "[::]:5353"},
		"UDP of one address":           {"udp4", "127.0.0.1:5353", "127.0.0.1:5353:53/udp", "127.0.0.1:5353"},
		"TCP, and UDP is published":    {"tcp", ":5353", "5353:53/udp", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			h := lab(t)
			netlab.NewOutside(t, "uplink0")
			var l interface{ Close() error }
			var err error
			if strings.HasPrefix(test.network, "udp") {
				l, err = net.ListenPacket(test.network, test.listens)
			} else {
				l, err = net.Listen(test.network, test.listens)
			}
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = l.Close() }()
			a := attachment(t, "pod-a", "default", test.port)
			_, err = h.Attach(t.Context(), a, netlab.New(t).Path())
			switch want := "a program of the host listens on " + test.refused; {
			case test.refused == "" && err != nil, test.refused != "" && (err == nil || !strings.Contains(err.Error(), want)):
				t.Errorf("attach: %v, want %q", err, test.refused)
			}
			if err := h.Detach(t.Context(), a, ""); err != nil {
				t.Error(err)
			}
		})
	}
}

// SCTP's listeners are seen too, where the kernel has the protocol (make test-v2).
func TestSCTPListenerIsSeen(t *testing.T) {
	netlab.Require(t)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_SCTP)
	if errors.Is(err, unix.EPROTONOSUPPORT) {
		t.Skip("the kernel has no SCTP")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: 3868, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	publish := func(host string, port uint16) error {
		return checkListeners([]rules.Forward{{Protocol: "sctp", HostIP: netip.MustParseAddr(host), HostPort: port}})
	}
	if err := publish("0.0.0.0", 3868); err != nil {
		t.Errorf("before it listens: %v", err)
	}
	if err := unix.Listen(fd, 1); err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]bool{"0.0.0.0": true, "127.0.0.1": true, "192.0.2.1": false, "::": false} {
		if err := publish(host, 3868); (err != nil) != want || want && !strings.Contains(err.Error(), "listens on 127.0.0.1:3868") {
			t.Errorf("%s: %v", host, err)
		}
	}
	if err := publish("0.0.0.0", 3869); err != nil {
		t.Errorf("another port: %v", err)
	}
}

// A connection that still uses the port keeps nobody from publishing it.
func TestPortOfAConnection(t *testing.T) {
	h := lab(t)
	l, err := net.Listen("tcp4", "127.0.0.1:8080")
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp4", "127.0.0.1:8080")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := l.Accept(); err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	start(t, h, attachment(t, "pod-a", "default", "8080:80"))
}

// echo answers each packet with a name and what was asked.
func echo(t *testing.T, p *pod, name string) {
	t.Helper()
	p.Do(func() {
		l, err := net.ListenPacket("udp", ":53")
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() { _ = l.Close() })
		go func() {
			for {
				buf := make([]byte, 10)
				n, from, err := l.ReadFrom(buf)
				if err != nil {
					return
				}
				_, _ = l.WriteTo(append([]byte(name), buf[:n]...), from)
			}
		}()
	})
}

// A client that goes on sending from the same port reaches the pod that has the port now, not the one that had it.
func TestUDPClientFollowsThePort(t *testing.T) {
	for name, where := range map[string]func(o *netlab.Outside) (doer, string){
		"a neighbour":       func(o *netlab.Outside) (doer, string) { return o, hostPort(o.Host4, 5353) },
		"a neighbour, IPv6": func(o *netlab.Outside) (doer, string) { return o, hostPort(o.Host6, 5353) },
		"the host":          func(*netlab.Outside) (doer, string) { return onHost{}, "127.0.0.1:5353" },
	} {
		t.Run(name, func(t *testing.T) {
			h := lab(t)
			out := netlab.NewOutside(t, "uplink0")
			from, to := where(out)
			var c net.Conn
			var err error
			from.Do(func() { c, err = net.Dial("udp", to) })
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			question := byte('0')
			ask := func(patience time.Duration) string {
				question++ // late answers to earlier ones are not for us
				for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
					buf := make([]byte, 20)
					_, _ = c.Write([]byte{question})
					_ = c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
					for {
						n, err := c.Read(buf)
						if err != nil {
							break
						}
						if buf[n-1] == question {
							return string(buf[:n-1])
						}
					}
				}
				return "no answer"
			}
			if got := ask(150 * time.Millisecond); got != "no answer" { // and the kernel remembers that nobody has the port
				t.Errorf("before there is a pod: %s", got)
			}
			a := start(t, h, attachment(t, "pod-a", "default:IP=172.16.28.10", "5353:53/udp"))
			echo(t, a, "a")
			if got := ask(patience); got != "a" {
				t.Errorf("the first pod: %s", got)
			}
			detach(t, h, a, "")
			b := start(t, h, attachment(t, "pod-b", "default:IP=172.16.28.11", "5353:53/udp"))
			echo(t, b, "b")
			if got := ask(patience); got != "b" {
				t.Errorf("the second pod: %s", got)
			}
			detach(t, h, b, "")
			if got := ask(150 * time.Millisecond); got != "no answer" {
				t.Errorf("after the last pod: %s", got)
			}
		})
	}
}

// initChunk is a packet of SCTP that begins an association (RFC 9260, 3.3.2).
func initChunk(from, to uint16) []byte {
	b := make([]byte, 32)
	binary.BigEndian.PutUint16(b, from)
	binary.BigEndian.PutUint16(b[2:], to)
	b[12] = 1                               // INIT
	binary.BigEndian.PutUint16(b[14:], 20)  // its length
	binary.BigEndian.PutUint32(b[16:], 7)   // tag
	binary.BigEndian.PutUint32(b[20:], 1e5) // window
	binary.BigEndian.PutUint16(b[24:], 1)   // streams
	binary.BigEndian.PutUint16(b[26:], 1)
	binary.BigEndian.PutUint32(b[28:], 1)
	binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// SCTP is translated like the others. Packets are made and read by hand: few kernels have the protocol itself.
func TestSCTPIsPublished(t *testing.T) {
	h := lab(t)
	out := netlab.NewOutside(t, "uplink0")
	a := start(t, h, attachment(t, "pod-a", "default", "3868:3869/sctp"))
	for family, test := range map[string]struct {
		network string
		to      net.IP
	}{"IPv4": {"ip4:132", out.Host4}, "IPv6": {"ip6:132", out.Host6}} {
		t.Run(family, func(t *testing.T) {
			var l net.PacketConn
			var err error
			a.Do(func() { l, err = net.ListenPacket(test.network, "") })
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = l.Close() }()
			ask := func(port uint16) string {
				out.Do(func() {
					var c net.Conn
					if c, err = net.Dial(test.network, test.to.String()); err == nil {
						_, err = c.Write(initChunk(5000, port))
						_ = c.Close()
					}
				})
				if err != nil {
					t.Fatal(err)
				}
				buf := make([]byte, 100)
				_ = l.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
				n, from, err := l.ReadFrom(buf)
				if err != nil || n < 12 {
					return "nothing"
				}
				if from.String() != out.IP4.String() && from.String() != out.IP6.String() {
					t.Errorf("it comes from %s", from)
				}
				return fmt.Sprint(binary.BigEndian.Uint16(buf[2:]))
			}
			for port, want := range map[uint16]string{3868: "3869", 3870: "nothing"} {
				got := ask(port)
				for tries := 1; tries < 60 && got != want; tries++ { // as SCTP would: a neighbour's address may be late
					got = ask(port)
				}
				if got != want {
					t.Errorf("sent to port %d, the pod gets %s, want %s", port, got, want)
				}
			}
		})
	}
}

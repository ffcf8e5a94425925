package examples

import (
	"bytes"
	"net"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// capture keeps every packet that passes an interface of the box.
type capture struct {
	mu      sync.Mutex
	packets [][]byte
}

func newCapture(t *testing.T, name string) *capture {
	t.Helper()
	link, err := net.InterfaceByName(name)
	if err != nil {
		t.Fatal(err)
	}
	const all = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8 // network byte order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, all)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: link.Index}); err != nil {
		t.Fatal(err)
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20)
	c := &capture{}
	go func() {
		buf := make([]byte, 1<<16)
		for {
			n, _, err := unix.Recvfrom(fd, buf, 0)
			if err != nil && err != unix.EINTR {
				return
			}
			if err == nil {
				c.mu.Lock()
				c.packets = append(c.packets, bytes.Clone(buf[:n]))
				c.mu.Unlock()
			}
		}
	}()
	t.Cleanup(func() { _ = unix.Close(fd) })
	return c
}

// holds says in how many packets the text is.
func (c *capture) holds(text string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, p := range c.packets {
		if bytes.Contains(p, []byte(text)) {
			n++
		}
	}
	return n
}

// wireGuard counts packets of UDP over IPv4 from port 51820 that carry WireGuard's data (type 4).
func (c *capture) wireGuard() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, p := range c.packets {
		if len(p) > 46 && p[12] == 8 && p[13] == 0 && p[14] == 0x45 && p[23] == unix.IPPROTO_UDP &&
			int(p[34])<<8|int(p[35]) == 51820 && bytes.Equal(p[42:46], []byte{4, 0, 0, 0}) {
			n++
		}
	}
	return n
}

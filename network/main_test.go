package network

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/gantryrun/gantry/network/conf"
	"github.com/gantryrun/gantry/network/netlab"
	"github.com/gantryrun/gantry/network/rules"
	"github.com/gantryrun/gantry/tests/await"
)

func TestMain(m *testing.M) { netlab.Main(m) }

// lab is a host with nothing on it, checked to be so again at the end of the test.
func lab(t testing.TB) *Host {
	t.Helper()
	netlab.Require(t)
	h := &Host{RunDir: filepath.Join(t.TempDir(), "run")}
	t.Cleanup(func() {
		leakCheck(t, h)
		if err := rules.Reset(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// leakCheck fails the test if a link, lease, rule element or result is left.
func leakCheck(t testing.TB, h *Host) {
	t.Helper()
	await.Success(t, "the kernel to remove the pods' links", func() error {
		links, err := whole(netlink.LinkList)
		if err != nil {
			return err
		}
		for _, l := range links {
			if strings.HasPrefix(l.Attrs().Name, rules.LinkPrefix) {
				return fmt.Errorf("link %s is left", l.Attrs().Name)
			}
		}
		return nil
	})
	if out, err := exec.Command("ip", "addr", "show", "dev", "lo").Output(); err != nil || strings.Contains(string(out), "fd67:") {
		t.Errorf("address of a gateway is left: %v\n%s", err, out)
	}
	for _, family := range []string{"-4", "-6"} {
		if out, err := exec.Command("ip", family, "route", "show", "type", "unreachable").Output(); err != nil || len(out) > 0 {
			t.Errorf("route is left: %v\n%s", err, out)
		}
	}
	_ = filepath.WalkDir(h.runDir(), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasPrefix(d.Name(), "last_reserved_ip.") {
			return nil
		}
		switch d.Name() {
		case "lock", "host.lock", "use.lock", "host.json":
		default:
			t.Errorf("file %s is left", path)
		}
		return nil
	})
	if out := ruleset(t); strings.Contains(networkSet.ReplaceAllString(out, ""), "elements") {
		t.Errorf("elements are left:\n%s", out)
	}
}

// networkSet is the one set whose elements stay, until Reset.
var networkSet = regexp.MustCompile(`set networks \{[^}]*\}`)

func ruleset(t testing.TB) string {
	t.Helper()
	out, err := exec.Command("nft", "list", "ruleset").CombinedOutput()
	if err != nil {
		t.Errorf("nft: %v\n%s", err, out)
	}
	return string(out)
}

const patience = await.Patience

// pod is a namespace attached to a network.
type pod struct {
	*netlab.Namespace
	Attachment
	res Result
}

func (p *pod) ip4() netip.Addr { return p.ip(true) }
func (p *pod) ip6() netip.Addr { return p.ip(false) }
func (p *pod) ip(v4 bool) netip.Addr {
	for _, a := range p.res.IPs {
		if a.Address.Addr().Is4() == v4 {
			return a.Address.Addr()
		}
	}
	return netip.Addr{}
}

// attachment freezes a network as stage0 does.
func attachment(t testing.TB, id, net string, ports ...string) Attachment {
	t.Helper()
	return attachmentFrom(t, conf.Source{}, id, net, ports...)
}

func attachmentFrom(t testing.TB, src conf.Source, id, net string, ports ...string) Attachment {
	t.Helper()
	sel, err := conf.ParseNet([]string{net})
	if err != nil {
		t.Fatal(err)
	}
	var maps []conf.PortMapping
	for _, p := range ports {
		m, err := conf.ParsePort(p)
		if err != nil {
			t.Fatal(err)
		}
		maps = append(maps, m)
	}
	nets, err := src.Freeze(sel, maps)
	if err != nil {
		t.Fatal(err)
	}
	n := nets[0]
	return Attachment{PodID: id, Network: n.Name, IfName: n.IfName, Args: n.Args, Ports: n.Ports, Conflist: n.Conflist}
}

// start makes a pod's namespace and attaches it; it is detached at the end of the test.
func start(t testing.TB, h *Host, a Attachment) *pod {
	t.Helper()
	p := &pod{Namespace: netlab.New(t), Attachment: a}
	if err := Loopback(p.Path()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		leave(t, h, a, "")
	})
	var err error
	if p.res, err = h.Attach(t.Context(), a, p.Path()); err != nil {
		t.Fatal(err)
	}
	return p
}

// doer is where a test does something: inside a namespace, or on the host.
type doer interface{ Do(f func()) }

type onHost struct{}

func (onHost) Do(f func()) { f() }

// serve answers each connection with the address that it comes from.
func serve(t testing.TB, where doer, addr string) {
	t.Helper()
	serveAs(t, where, addr, func(c net.Conn) string {
		from, _, _ := net.SplitHostPort(c.RemoteAddr().String())
		return from
	})
}

// serveAs answers each connection with what say says.
func serveAs(t testing.TB, where doer, addr string, say func(net.Conn) string) {
	t.Helper()
	where.Do(func() {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() { _ = l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = io.WriteString(c, say(c))
				_ = c.Close()
			}
		}()
	})
}

// ask connects and gives what the server says.
func ask(where doer, addr string, patience time.Duration) (string, error) {
	var said []byte
	var err error
	where.Do(func() {
		var c net.Conn
		if c, err = net.DialTimeout("tcp", addr, patience); err != nil {
			return
		}
		defer func() { _ = c.Close() }()
		_ = c.SetDeadline(time.Now().Add(patience))
		said, err = io.ReadAll(c)
	})
	return string(said), err
}

// reaches asks, and checks from which address the server sees the question come.
func reaches(t testing.TB, where doer, addr, from string) {
	t.Helper()
	got, err := ask(where, addr, patience)
	if err != nil {
		t.Errorf("%s is not reached: %v", addr, err)
	} else if got != from {
		t.Errorf("%s was asked by %q, want %q", addr, got, from)
	}
}

// blocked checks that there is no way to any of the addresses.
func blocked(t testing.TB, where doer, addrs ...string) {
	t.Helper()
	var wg sync.WaitGroup
	for _, addr := range addrs {
		wg.Go(func() {
			if got, err := ask(where, addr, 150*time.Millisecond); err == nil {
				t.Errorf("%s is reached, by %q", addr, got)
			} else if errors.Is(err, os.ErrPermission) {
				t.Errorf("%s: %v", addr, err)
			}
		})
	}
	wg.Wait()
}

func hostPort(a any, port int) string { return net.JoinHostPort(fmt.Sprint(a), fmt.Sprint(port)) }

// sendsUDP sends one packet with the source address src from one place to dst in another, and counts what arrives until nothing has for a
// while.
func sendsUDP(t testing.TB, from, to doer, src, dst string, patience time.Duration) int {
	t.Helper()
	var l net.PacketConn
	var err error
	to.Do(func() { l, err = net.ListenPacket("udp", hostPort(dst, 4000)) })
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	from.Do(func() {
		var c net.Conn
		if c, err = net.DialUDP("udp", &net.UDPAddr{IP: net.ParseIP(src)}, &net.UDPAddr{IP: net.ParseIP(dst), Port: 4000}); err == nil {
			_, err = c.Write([]byte("x"))
			_ = c.Close()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for {
		_ = l.SetReadDeadline(time.Now().Add(patience))
		if _, _, err := l.ReadFrom(make([]byte, 10)); err != nil {
			return n
		}
		n, patience = n+1, 50*time.Millisecond
	}
}

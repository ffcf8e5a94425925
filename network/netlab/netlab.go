// Package netlab gives tests a machine of their own: a network namespace that plays the host, with a private /run, and
// further ones that play pods and the outside world. Only tests import it.
//
// Its invariant is that nothing it makes outlives the test binary: the host namespace is that of a re-executed process, the
// others are descriptors of it.
package netlab

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const marker = "GANTRY_NETLAB"

// Main runs the tests of a package in namespaces of their own; call it from TestMain. Without root it says so and runs
// only the tests that do not call Require.
func Main(m *testing.M) {
	if os.Geteuid() != 0 || os.Getenv(marker) != "" {
		if os.Getenv(marker) != "" {
			if err := furnish(); err != nil {
				fmt.Fprintln(os.Stderr, "netlab:", err)
				os.Exit(1)
			}
		}
		os.Exit(m.Run())
	}
	c := exec.Command("/proc/self/exe", os.Args[1:]...)
	c.Args[0] = os.Args[0]
	c.Env = append(os.Environ(), marker+"=1")
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL,
	}
	runtime.LockOSThread() // Pdeathsig follows the thread
	err := c.Run()
	if code := c.ProcessState.ExitCode(); code > 0 {
		os.Exit(code)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "netlab:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// furnish makes the new namespaces usable.
func furnish() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	// /sys/class/net shows the namespace that sysfs was mounted in.
	if err := unix.Mount("sysfs", "/sys", "sysfs", unix.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("mount /sys: %w", err)
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(lo)
}

// Require skips a test that needs the namespaces, with the reason.
func Require(t testing.TB) {
	t.Helper()
	if os.Getenv(marker) == "" {
		t.Skip("needs root, to make network namespaces")
	}
}

// Namespace is a network namespace that lives as long as its descriptor.
type Namespace struct {
	t testing.TB
	f *os.File
}

// New makes an empty network namespace. It is closed when the test ends, or before by Close.
func New(t testing.TB) *Namespace {
	t.Helper()
	var f *os.File
	there(t, func() error { return unix.Unshare(unix.CLONE_NEWNET) }, func() {
		var err error
		if f, err = os.Open("/proc/thread-self/ns/net"); err != nil {
			t.Error(err)
		}
	})
	if f == nil {
		t.FailNow()
	}
	ns := &Namespace{t, f}
	t.Cleanup(ns.Close)
	return ns
}

// Path is how plugins find the namespace.
func (ns *Namespace) Path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), ns.f.Fd()) }

// Close lets the namespace go; the kernel then takes its interfaces away.
func (ns *Namespace) Close() { _ = ns.f.Close() }

// FD is the namespace's descriptor.
func (ns *Namespace) FD() int { return int(ns.f.Fd()) }

// Do runs f on a thread inside the namespace. Sockets that f opens stay there.
func (ns *Namespace) Do(f func()) {
	there(ns.t, func() error { return unix.Setns(ns.FD(), unix.CLONE_NEWNET) }, f)
}

// there runs f on a thread that enter has taken to another namespace, and brings the thread back. Letting it die instead does
// not do: the main thread of a process cannot, and would hold the namespace for ever.
func there(t testing.TB, enter func() error, f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		home, err := os.Open("/proc/thread-self/ns/net")
		if err == nil {
			err = enter()
		}
		if err != nil {
			t.Errorf("enter network namespace: %v", err)
			return
		}
		f()
		if err := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); err != nil {
			t.Errorf("leave network namespace: %v", err)
			return
		}
		_ = home.Close()
		runtime.UnlockOSThread()
	}()
	<-done
}

// Run runs a program inside the namespace and gives its output.
func (ns *Namespace) Run(name string, args ...string) string {
	ns.t.Helper()
	var out []byte
	var err error
	ns.Do(func() { out, err = exec.Command(name, args...).CombinedOutput() })
	if err != nil {
		ns.t.Errorf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// Outside is a neighbour of the host: a namespace at the other end of a cable, with no route to any pod.
type Outside struct {
	*Namespace
	Host4, Host6 net.IP // the host's addresses on the cable
	IP4, IP6     net.IP // the neighbour's
}

// NewOutside lays a cable named name from the host to a new namespace, and makes it the host's default route.
func NewOutside(t testing.TB, name string) *Outside {
	t.Helper()
	o := &Outside{
		Namespace: New(t),
		Host4:     net.IPv4(192, 0, 2, 1), IP4: net.IPv4(192, 0, 2, 2),
		Host6: net.ParseIP("2001:db8::1"), IP6: net.ParseIP("2001:db8::2"),
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	must(t, netlink.LinkAdd(&netlink.Veth{
		LinkAttrs: attrs, PeerName: "eth0", PeerTxQLen: -1, PeerNamespace: netlink.NsFd(o.FD()),
	}))
	t.Cleanup(func() {
		if l, err := netlink.LinkByName(name); err == nil {
			must(t, netlink.LinkDel(l))
		}
	})
	configure(t, name, o.Host4, o.Host6)
	must(t, netlink.RouteAdd(&netlink.Route{Gw: o.IP4}))
	must(t, netlink.RouteAdd(&netlink.Route{Gw: o.IP6}))
	o.Do(func() { configure(t, "lo"); configure(t, "eth0", o.IP4, o.IP6) })
	return o
}

func configure(t testing.TB, name string, ips ...net.IP) {
	l, err := netlink.LinkByName(name)
	must(t, err)
	must(t, netlink.LinkSetUp(l))
	for _, ip := range ips {
		a := &netlink.Addr{IPNet: &net.IPNet{IP: ip, Mask: net.CIDRMask(64, 128)}, Flags: unix.IFA_F_NODAD}
		if ip4 := ip.To4(); ip4 != nil {
			a = &netlink.Addr{IPNet: &net.IPNet{IP: ip4, Mask: net.CIDRMask(24, 32)}}
		}
		must(t, netlink.AddrAdd(l, a))
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

package network

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// namespace is the inside of a network namespace, as long as inNamespace's function runs.
type namespace struct {
	nl *netlink.Handle
}

// inNamespace runs f, with a netlink socket, on a thread that has entered the network namespace at path. f must not start goroutines.
func inNamespace(path string, f func(*namespace) error) error {
	return inside(path, func() error { return withHandle(f) })
}

// inside is inNamespace without the socket.
func inside(path string, f func() error) error {
	ns, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open network namespace: %w", err)
	}
	defer func() { _ = ns.Close() }()
	enter := func() error { return unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET) }
	return elsewhere(enter, f)
}

// newNamespace makes an empty network namespace, which lasts until its descriptor is closed.
func newNamespace() (ns *os.File, err error) {
	err = elsewhere(func() error { return unix.Unshare(unix.CLONE_NEWNET) }, func() (err error) {
		ns, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	return ns, err
}

// elsewhere runs f on a thread that enter has taken to another namespace. It is the one function that leaves the host's. It does so on
// a goroutine of its own: a thread that cannot come back stays locked to it and dies with it, before any other code could run there.
func elsewhere(enter, f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		home, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			runtime.UnlockOSThread()
			done <- fmt.Errorf("open own network namespace: %w", err)
			return
		}
		defer func() { _ = home.Close() }()
		if err := enter(); err != nil {
			runtime.UnlockOSThread()
			done <- fmt.Errorf("enter network namespace: %w", err)
			return
		}
		err = f()
		if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
			done <- errors.Join(err, fmt.Errorf("leave network namespace: %w", back))
			return
		}
		runtime.UnlockOSThread()
		done <- err
	}()
	return <-done
}

// withHandle opens a netlink socket in the namespace of the current thread.
func withHandle(f func(*namespace) error) error {
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer nl.Close()
	return f(&namespace{nl})
}

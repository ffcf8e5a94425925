package hosts

import (
	"fmt"
	"net"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Listen listens on a port of the host's loopback, in this process: for servers of the tests' own.
func (h *Host) Listen() (l net.Listener, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine, and the namespace with it
		var ns *os.File
		if ns, err = os.Open(fmt.Sprintf("/proc/%d/ns/net", h.init)); err != nil {
			return
		}
		defer ns.Close()
		if err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err == nil {
			l, err = net.Listen("tcp", "127.0.0.1:0") // the socket stays in the namespace in which it was made
		}
	}()
	<-done
	return l, err
}

package rules

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// without runs f on a thread for which the kernel has no netfilter netlink, as one that was built without nf_tables answers: hosts that
// have only the tables of iptables-legacy, or none.
func without(t *testing.T, errno unix.Errno, f func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the filter dies with the thread
		const ret, load, jumpEqual = 0x06, 0x20, 0x15
		filter := []unix.SockFilter{
			{Code: load, K: 0}, // the system call's number
			{Code: jumpEqual, K: unix.SYS_SOCKET, Jf: 3},
			{Code: load, K: 32}, // its third argument
			{Code: jumpEqual, K: unix.NETLINK_NETFILTER, Jf: 1},
			{Code: ret, K: unix.SECCOMP_RET_ERRNO | uint32(errno)},
			{Code: ret, K: unix.SECCOMP_RET_ALLOW},
		}
		program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
		err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
		if err == nil {
			if _, _, e := unix.Syscall(unix.SYS_SECCOMP, 1, 0, uintptr(unsafe.Pointer(&program))); e != 0 { // SECCOMP_SET_MODE_FILTER
				err = e
			}
		}
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatalf("install seccomp filter: %v", err)
	}
}

// A kernel without nf_tables: one line says so and what works, and what is to be removed counts as gone.
func TestKernelWithoutNfTables(t *testing.T) {
	clean(t)
	for _, errno := range []unix.Errno{unix.EPROTONOSUPPORT, unix.EAFNOSUPPORT} {
		t.Run(errno.Error(), func(t *testing.T) {
			var made, removed, reset, seen error
			without(t, errno, func() {
				_, made = Ensure(7)
				removed = Remove(Elements{Network: 7})
				reset = Reset()
				_, seen = Read()
			})
			for what, err := range map[string]error{"make": made, "read": seen} {
				if !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "--net=host work") || strings.Contains(err.Error(), "\n") {
					t.Errorf("%s: %v", what, err)
				}
			}
			if removed != nil || reset != nil {
				t.Errorf("remove: %v, %v", removed, reset)
			}
		})
	}
}

// What google/nftables joins, one error for each message of a transaction, is one line.
func TestErrorsAreSaidOnce(t *testing.T) {
	many := unix.EOPNOTSUPP
	err := errors.Join(errors.Join(many, many), errors.Join(many, unix.ENOENT))
	got := once(fmt.Errorf("conn.Receive: %w", err))
	if want := many.Error() + "; " + unix.ENOENT.Error(); got.Error() != want || !errors.Is(got, many) || !errors.Is(got, unix.ENOENT) {
		t.Errorf("got %q, want %q", got, want)
	}
	if once(nil) != nil || once(unix.EPERM).Error() != unix.EPERM.Error() {
		t.Error("an error that is not joined is changed")
	}
}

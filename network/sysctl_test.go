package network

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/network/netlab"
)

// What is looked up in a pod's namespace is in no cache that the host's sysctls are looked up in.
func TestPodProcIsNotTheHosts(t *testing.T) {
	netlab.Require(t)
	proc, err := podProc()
	if err != nil {
		t.Fatal(err)
	}
	defer proc.Close()
	var own, host unix.Stat_t
	if err := unix.Fstat(int(proc.Fd()), &own); err != nil {
		t.Fatal(err)
	}
	if err := unix.Stat("/proc", &host); err != nil {
		t.Fatal(err)
	}
	if own.Dev == host.Dev {
		t.Error("the pod's namespace is looked up in the host's proc")
	}
}

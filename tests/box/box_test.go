package box_test

import (
	"net"
	"os"
	"strings"
	"testing"

	"github.com/gantryrun/gantry/tests/box"
)

func TestMain(m *testing.M) { os.Exit(box.Main(m)) }

// A box has its own PID, network and cgroup namespaces, and an empty /run.
func TestEnter(t *testing.T) {
	if !box.Enter(t) {
		return
	}
	if ppid := os.Getppid(); ppid != 1 {
		t.Errorf("parent is %d, want 1", ppid)
	}
	links, err := net.Interfaces()
	if err != nil || len(links) != 1 || links[0].Flags&net.FlagUp == 0 {
		t.Errorf("links: %v, %v; want loopback alone, and up", links, err)
	}
	entries, err := os.ReadDir("/run")
	if err != nil || len(entries) != 1 || entries[0].Name() != "lock" {
		t.Errorf("/run: %v, %v; want lock alone", entries, err)
	}
	data, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if path := strings.TrimSpace(line[strings.LastIndex(line, ":")+1:]); path != "/" && path != "/init" {
			t.Errorf("cgroup %q is not the box's root", strings.TrimSpace(line))
		}
	}
}

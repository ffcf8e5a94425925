package rules

import (
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gantryrun/gantry/network/netlab"
)

func TestMain(m *testing.M) { netlab.Main(m) }

func nft(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("nft", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("nft %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// clean starts with no rules and ends with none.
func clean(t *testing.T) {
	t.Helper()
	netlab.Require(t)
	t.Cleanup(func() { nft(t, "flush", "ruleset") })
}

func forward(host string, port uint16, to string) Forward {
	return Forward{Protocol: "tcp", HostIP: netip.MustParseAddr(host), HostPort: port, To: netip.MustParseAddrPort(to)}
}

func ensure(t *testing.T) {
	t.Helper()
	if _, err := Ensure(7); err != nil {
		t.Fatal(err)
	}
}

func TestTableIsAsDocumented(t *testing.T) {
	clean(t)
	ensure(t)
	if err := Remove(Elements{Network: 7}); err != nil {
		t.Fatal(err)
	}
	if v := nft(t, "--version"); !strings.Contains(v, "v1.0.6") {
		t.Skipf("the golden file is as nft 1.0.6 prints it, this is %s", v)
	}
	const golden = "testdata/table.nft"
	got := nft(t, "list", "table", "inet", "gantry")
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("run with UPDATE=1 if this is meant:\n%s", diff)
	}
}

func TestEnsureAtOnce(t *testing.T) {
	clean(t)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := Ensure(7); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	once := nft(t, "list", "ruleset")
	ensure(t)
	if diff := cmp.Diff(once, nft(t, "list", "ruleset")); diff != "" {
		t.Error(diff)
	}
	if n := strings.Count(once, "fib saddr"); n != 1 {
		t.Errorf("rules are there %d times", n)
	}
}

func TestOlderTableIsBroughtUp(t *testing.T) {
	clean(t)
	ensure(t)
	e := Elements{Forwards: []Forward{forward("0.0.0.0", 80, "10.0.0.2:80")}}
	if err := Add(e); err != nil {
		t.Fatal(err)
	}
	want := nft(t, "list", "ruleset")
	nft(t, "delete", "set", "inet", "gantry", marker.Name)
	nft(t, "flush", "chain", "inet", "gantry", "forward")
	nft(t, "add", "rule", "inet", "gantry", "forward", "drop")
	ensure(t)
	got := nft(t, "list", "ruleset")
	if sorted(got) != sorted(want) {
		t.Error(cmp.Diff(want, got))
	}
}

func sorted(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return strings.Join(slices.Sorted(slices.Values(lines)), "\n")
}

func TestElementsOfTwoPods(t *testing.T) {
	clean(t)
	ensure(t)
	before := nft(t, "list", "ruleset")
	a := Elements{
		Owner:   "pod-a",
		Hairpin: []netip.Addr{netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("fd00::2")},
		Forwards: []Forward{
			forward("0.0.0.0", 80, "10.0.0.2:8080"), forward("::", 80, "[fd00::2]:8080"),
			forward("127.0.0.1", 81, "10.0.0.2:81"), {"udp", netip.IPv4Unspecified(), 53, netip.MustParseAddrPort("10.0.0.2:53")},
		},
	}
	b := Elements{
		Hairpin:  []netip.Addr{netip.MustParseAddr("10.0.0.3")},
		Forwards: []Forward{forward("0.0.0.0", 90, "10.0.0.3:90"), forward("0.0.0.0", 80, "10.0.0.3:80")},
	}
	for range 2 {
		if err := Add(a); err != nil {
			t.Fatal(err)
		}
	}
	onlyA := nft(t, "list", "ruleset")
	for _, want := range []string{
		`tcp . 80 comment "pod-a" : 10.0.0.2 . 8080`, `tcp . 80 comment "pod-a" : fd00::2 . 8080`,
		`tcp . 127.0.0.1 . 81 comment "pod-a" : 10.0.0.2 . 81`, `udp . 53 comment "pod-a" : 10.0.0.2 . 53`, "10.0.0.2 . 10.0.0.2", "fd00::2 . fd00::2",
	} {
		if !strings.Contains(onlyA, want) {
			t.Errorf("%s is not there", want)
		}
	}
	taken, ok := errors.AsType[*TakenError](Add(b))
	if diff := cmp.Diff(&TakenError{Port: "0.0.0.0:80/tcp", Owner: "pod-a"}, taken); !ok || diff != "" {
		t.Errorf("add a port twice: %s", diff)
	}
	one := Elements{Forwards: []Forward{forward("127.0.0.1", 81, "10.0.0.3:81")}}
	if taken, ok := errors.AsType[*TakenError](Add(one)); !ok || taken.Owner != "pod-a" || !errors.Is(taken, ErrPortTaken) {
		t.Errorf("add a port of one address twice: %+v", taken)
	}
	// Taking back what could not be added leaves the other's alone.
	if err := Remove(b); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(onlyA, nft(t, "list", "ruleset")); diff != "" {
		t.Error(diff)
	}
	for range 2 {
		if err := Remove(a); err != nil {
			t.Error(err)
		}
	}
	if diff := cmp.Diff(before, nft(t, "list", "ruleset")); diff != "" {
		t.Error(diff)
	}
}

func TestOtherTablesAreLeftAlone(t *testing.T) {
	clean(t)
	nft(t, "add", "table", "inet", "firewalld")
	nft(t, "add", "chain", "inet", "firewalld", "forward", "{ type filter hook forward priority 10; policy drop; }")
	nft(t, "add", "table", "ip", "gantry")
	nft(t, "add", "set", "ip", "gantry", "x", "{ type ipv4_addr; elements = { 1.2.3.4 } }")
	before := nft(t, "list", "ruleset")
	ensure(t)
	e := Elements{Forwards: []Forward{forward("0.0.0.0", 80, "10.0.0.2:80")}}
	if err := Add(e); err != nil {
		t.Fatal(err)
	}
	if err := Remove(e); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := Reset(); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(before, nft(t, "list", "ruleset")); diff != "" {
		t.Error(diff)
	}
}

func TestRemoveWithoutTable(t *testing.T) {
	clean(t)
	if err := Remove(Elements{Forwards: []Forward{forward("0.0.0.0", 80, "10.0.0.2:80")}}); err != nil {
		t.Error(err)
	}
	if out := nft(t, "list", "ruleset"); out != "" {
		t.Errorf("ruleset:\n%s", out)
	}
}

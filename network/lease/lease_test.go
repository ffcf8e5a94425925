package lease

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var addrCmp = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

func newPool(t testing.TB) Pool {
	dir := t.TempDir()
	return Pool{Dir: filepath.Join(dir, "net"), Index: filepath.Join(dir, ".index", "net")}
}

// sets makes sets of ranges: "10.0.0.0/29" or "10.0.0.0/24 10.0.0.5 10.0.0.9"; ranges of one set are joined by "+".
func sets(t testing.TB, texts ...string) []RangeSet {
	t.Helper()
	var out []RangeSet
	for _, text := range texts {
		var set RangeSet
		for part := range strings.SplitSeq(text, "+") {
			fields := strings.Fields(part)
			r := Range{Subnet: netip.MustParsePrefix(fields[0])}
			if len(fields) == 3 {
				r.Start, r.End = netip.MustParseAddr(fields[1]), netip.MustParseAddr(fields[2])
			}
			if err := r.Complete(); err != nil {
				t.Fatal(err)
			}
			set = append(set, r)
		}
		out = append(out, set)
	}
	return out
}

func acquire(t testing.TB, p Pool, id string, s []RangeSet, want ...string) (string, error) {
	t.Helper()
	var w []netip.Addr
	for _, a := range want {
		w = append(w, netip.MustParseAddr(a))
	}
	leases, err := p.Acquire(Owner{id, "eth0"}, s, w)
	var out []string
	for _, l := range leases {
		out = append(out, l.Addr.String())
	}
	return strings.Join(out, ","), err
}

func TestAcquire(t *testing.T) {
	type step struct {
		do   string // an owner; "-owner" releases; "owner=addr,addr" wants
		want string // addresses, or a part of the error
	}
	tests := map[string]struct {
		ranges []string
		steps  []step
	}{
		"in order, gateway left out": {[]string{"10.0.0.0/29"}, []step{{"a", "10.0.0.2"}, {"b", "10.0.0.3"}}},
		"again":                      {[]string{"10.0.0.0/29"}, []step{{"a", "10.0.0.2"}, {"b", "10.0.0.3"}, {"a", "10.0.0.2"}}},
		"released addresses rest": {[]string{"10.0.0.0/29"}, []step{
			{"a", "10.0.0.2"}, {"-a", ""}, {"b", "10.0.0.3"}, {"c", "10.0.0.4"}, {"d", "10.0.0.5"}, {"e", "10.0.0.6"}, {"f", "10.0.0.2"},
		}},
		"exhausted":    {[]string{"10.0.0.0/30"}, []step{{"a", "10.0.0.2"}, {"b", "no free address"}, {"-a", ""}, {"b", "10.0.0.2"}}},
		"two families": {[]string{"10.0.0.0/29", "fd00::/64"}, []step{{"a", "10.0.0.2,fd00::2"}, {"b", "10.0.0.3,fd00::3"}}},
		"one family exhausted leaves nothing": {[]string{"fd00::/64", "10.0.0.0/30"}, []step{
			{"a", "fd00::2,10.0.0.2"}, {"b", "no free address"}, {"-a", ""}, {"c", "fd00::3,10.0.0.2"},
		}},
		"several ranges in a set": {[]string{"10.0.0.0/24 10.0.0.5 10.0.0.5+10.1.0.0/24 10.1.0.7 10.1.0.7"}, []step{
			{"a", "10.0.0.5"}, {"b", "10.1.0.7"}, {"c", "no free address"}, {"-a", ""}, {"c", "10.0.0.5"},
		}},
		"wanted":                    {[]string{"10.0.0.0/24", "fd00::/64"}, []step{{"a=10.0.0.9", "10.0.0.9,fd00::2"}, {"b=fd00::9", "10.0.0.10,fd00::9"}}},
		"wanted again":              {[]string{"10.0.0.0/24"}, []step{{"a=10.0.0.9", "10.0.0.9"}, {"a=10.0.0.9", "10.0.0.9"}}},
		"wanted instead":            {[]string{"10.0.0.0/24"}, []step{{"a", "10.0.0.2"}, {"a=10.0.0.9", "10.0.0.9"}, {"b=10.0.0.2", "10.0.0.2"}}},
		"wanted by two":             {[]string{"10.0.0.0/24"}, []step{{"a=10.0.0.9", "10.0.0.9"}, {"b=10.0.0.9", "is leased to pod a"}}},
		"wanted, from elsewhere":    {[]string{"10.0.0.0/24"}, []step{{"a=10.0.1.9", "in no range"}}},
		"wanted, the gateway":       {[]string{"10.0.0.0/24"}, []step{{"a=10.0.0.1", "it is the gateway's"}}},
		"wanted, two of one family": {[]string{"10.0.0.0/24"}, []step{{"a=10.0.0.8,10.0.0.9", "which gives one"}}},
		"wanted after release":      {[]string{"10.0.0.0/24"}, []step{{"a=10.0.0.9", "10.0.0.9"}, {"-a", ""}, {"b=10.0.0.9", "10.0.0.9"}}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p := newPool(t)
			s := sets(t, test.ranges...)
			owners := map[string]bool{}
			for _, step := range test.steps {
				if id, ok := strings.CutPrefix(step.do, "-"); ok {
					if err := p.Release(Owner{id, "eth0"}, nil); err != nil {
						t.Fatal(err)
					}
					continue
				}
				id, wants, _ := strings.Cut(step.do, "=")
				owners[id] = true
				got, err := acquire(t, p, id, s, strings.FieldsFunc(wants, func(r rune) bool { return r == ',' })...)
				if err != nil {
					got = err.Error()
				}
				if got != step.want && (err == nil || !strings.Contains(got, step.want)) {
					t.Errorf("%s: %s, want %s", step.do, got, step.want)
				}
			}
			for id := range owners {
				for range 2 {
					if err := p.Release(Owner{id, "eth0"}, nil); err != nil {
						t.Error(err)
					}
				}
			}
			empty(t, p)
		})
	}
}

// empty checks that no lease and no index entry is left.
func empty(t *testing.T, p Pool) {
	t.Helper()
	for _, dir := range []string{p.Dir, p.Index} {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			if e.Name() != "lock" && !strings.HasPrefix(e.Name(), "last_reserved_ip.") {
				t.Errorf("%s is left", e.Name())
			}
		}
	}
}

func TestNearlyFullRange(t *testing.T) {
	p := newPool(t)
	s := sets(t, "10.0.0.0/24")
	seen := map[string]bool{}
	for i := range 253 { // 254 hosts without the gateway
		got, err := acquire(t, p, fmt.Sprint("pod", i), s)
		if err != nil || seen[got] {
			t.Fatalf("pod %d: %q, %v", i, got, err)
		}
		seen[got] = true
	}
	if _, err := acquire(t, p, "late", s); !errors.Is(err, ErrExhausted) {
		t.Errorf("full: %v", err)
	}
}

func TestAcquireAtOnce(t *testing.T) {
	p := newPool(t)
	s := sets(t, "10.0.0.0/24", "fd00::/64")
	var mu sync.Mutex
	var wg sync.WaitGroup
	seen := map[string]int{}
	for i := range 40 {
		wg.Go(func() {
			got, err := acquire(t, p, fmt.Sprint("pod", i%20), s)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			seen[got]++
			mu.Unlock()
		})
	}
	wg.Wait()
	if len(seen) != 20 {
		t.Errorf("20 pods have %d addresses: %v", len(seen), seen)
	}
}

// What a kill in the middle of Acquire, or host-local in the same directory, may leave.
func TestIndexIsAHint(t *testing.T) {
	s := sets(t, "10.0.0.0/24", "fd00::/64")
	o := Owner{"a", "eth0"}
	tests := map[string]func(t *testing.T, p Pool){
		"index without leases": func(t *testing.T, p Pool) {
			must(t, os.Remove(p.file(netip.MustParseAddr("10.0.0.2"))))
			must(t, os.Remove(p.file(netip.MustParseAddr("fd00::2"))))
		},
		"index with half of the leases": func(t *testing.T, p Pool) {
			must(t, os.Remove(p.file(netip.MustParseAddr("fd00::2"))))
		},
		"index names another's lease": func(t *testing.T, p Pool) {
			must(t, os.WriteFile(p.file(netip.MustParseAddr("10.0.0.2")), []byte("b\r\neth0"), 0o600))
		},
		"killed before it wrote the lease": func(t *testing.T, p Pool) {
			must(t, os.Truncate(p.file(netip.MustParseAddr("10.0.0.2")), 0))
			must(t, os.Remove(p.file(netip.MustParseAddr("fd00::2"))))
		},
		"index is a file": func(t *testing.T, p Pool) {
			must(t, os.Remove(p.file(netip.MustParseAddr("10.0.0.2"))))
			must(t, os.Remove(p.file(netip.MustParseAddr("fd00::2"))))
			must(t, os.Remove(p.indexFile(o)))
			must(t, os.WriteFile(p.indexFile(o), nil, 0o600))
		},
		"index is nonsense": func(t *testing.T, p Pool) {
			must(t, os.Remove(p.file(netip.MustParseAddr("10.0.0.2"))))
			must(t, os.Remove(p.file(netip.MustParseAddr("fd00::2"))))
			must(t, os.Remove(p.indexFile(o)))
			must(t, os.Symlink("../../etc,,10.0.0", p.indexFile(o)))
		},
	}
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			p := newPool(t)
			if _, err := p.Acquire(o, s, nil); err != nil {
				t.Fatal(err)
			}
			spoil(t, p)
			if _, err := p.Acquire(o, s, nil); err != nil {
				t.Fatal(err)
			}
			held, err := p.Held(o)
			if err != nil || len(held) != 2 {
				t.Errorf("held %v, %v", held, err)
			}
			must(t, p.Release(o, nil))
			if content, err := os.ReadFile(p.file(netip.MustParseAddr("10.0.0.2"))); err == nil && string(content) != "b\r\neth0" {
				t.Errorf("lease is left: %q", content)
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestLastIsCalledWhenNobodyIsLeft(t *testing.T) {
	p := newPool(t)
	s := sets(t, "10.0.0.0/24")
	for _, id := range []string{"a", "b"} {
		if _, err := acquire(t, p, id, s); err != nil {
			t.Fatal(err)
		}
	}
	calls := 0
	last := func() error { calls++; return nil }
	for _, step := range []struct {
		id   string
		want int
	}{{"a", 0}, {"a", 0}, {"b", 1}, {"never", 2}} {
		if err := p.Release(Owner{step.id, "eth0"}, last); err != nil || calls != step.want {
			t.Errorf("release of %s: called %d times, want %d; %v", step.id, calls, step.want, err)
		}
	}
}

func TestHeldKeepsOrder(t *testing.T) {
	p := newPool(t)
	o := Owner{"a", "eth0"}
	if _, err := p.Acquire(o, sets(t, "fd00::/64", "10.0.0.0/24"), nil); err != nil {
		t.Fatal(err)
	}
	held, err := p.Held(o)
	want := []netip.Addr{netip.MustParseAddr("fd00::2"), netip.MustParseAddr("10.0.0.2")}
	if diff := cmp.Diff(want, held, addrCmp); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

func TestComplete(t *testing.T) {
	tests := map[string]struct {
		in   Range
		want string // start end gateway, or a part of the error
	}{
		"IPv4":          {Range{Subnet: netip.MustParsePrefix("10.0.0.0/24")}, "10.0.0.1 10.0.0.254 10.0.0.1"},
		"IPv4, odd":     {Range{Subnet: netip.MustParsePrefix("10.0.0.64/27")}, "10.0.0.65 10.0.0.94 10.0.0.65"},
		"IPv6":          {Range{Subnet: netip.MustParsePrefix("fd00::/64")}, "fd00::1 fd00::ffff:ffff:ffff:ffff fd00::1"},
		"no subnet":     {Range{}, "without a subnet"},
		"host bits":     {Range{Subnet: netip.MustParsePrefix("10.0.0.1/24")}, "use 10.0.0.0/24"},
		"too small":     {Range{Subnet: netip.MustParsePrefix("10.0.0.0/31")}, "too small"},
		"start outside": {Range{Subnet: netip.MustParsePrefix("10.0.0.0/24"), Start: netip.MustParseAddr("10.0.1.1")}, "not in subnet"},
		"end first": {Range{
			Subnet: netip.MustParsePrefix("10.0.0.0/24"), Start: netip.MustParseAddr("10.0.0.9"), End: netip.MustParseAddr("10.0.0.8"),
		}, "before it starts"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := test.in
			got := fmt.Sprint(r.Complete())
			if got == "<nil>" {
				got = fmt.Sprint(r.Start, r.End, r.Gateway)
			}
			if !strings.Contains(got, test.want) {
				t.Errorf("%s, want %s", got, test.want)
			}
		})
	}
}

func BenchmarkAcquire(b *testing.B) {
	s := sets(b, "10.0.0.0/8")
	for _, others := range []int{0, 5000} {
		b.Run(fmt.Sprintf("others=%d", others), func(b *testing.B) {
			p := newPool(b)
			for i := range others {
				if _, err := acquire(b, p, fmt.Sprint("pod", i), s); err != nil {
					b.Fatal(err)
				}
			}
			for b.Loop() {
				if _, err := acquire(b, p, "x", s); err != nil {
					b.Fatal(err)
				}
				if err := p.Release(Owner{"x", "eth0"}, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

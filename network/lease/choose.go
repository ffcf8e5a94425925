package lease

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// How an address is found without looking at every lease: first the ones that follow the last that was handed out, as
// host-local does, then some at random, which finds one quickly unless the range is nearly full; only then the whole
// range, with the directory read once.
const (
	nextTries   = 16
	randomTries = 64
)

// choose finds the address that set gives to a new owner; wanted is the zero address where any will do.
func (p Pool) choose(i int, set RangeSet, wanted netip.Addr) (Lease, error) {
	if wanted.IsValid() {
		return p.chooseWanted(set, wanted)
	}
	last, _ := os.ReadFile(p.lastFile(i)) // missing or damaged: start at the beginning
	lastAddr, _ := netip.ParseAddr(string(last))
	start := 0
	if n := slices.IndexFunc(set, func(r Range) bool { return r.Contains(lastAddr) }); n > 0 {
		start = n
	}
	for n := range set {
		r := set[(start+n)%len(set)]
		if addr, ok := p.chooseIn(r, lastAddr); ok {
			return Lease{addr, r}, nil
		}
	}
	return Lease{}, fmt.Errorf("lease address of %s: %w", set, ErrExhausted)
}

func (p Pool) chooseWanted(set RangeSet, wanted netip.Addr) (Lease, error) {
	r := set[slices.IndexFunc(set, func(r Range) bool { return r.Contains(wanted) })]
	if wanted == r.Gateway {
		return Lease{}, fmt.Errorf("lease address %s: it is the gateway's", wanted)
	}
	holder, err := os.ReadFile(p.file(wanted))
	if err == nil {
		id, _, _ := strings.Cut(string(holder), "\r\n")
		return Lease{}, &TakenError{Addr: wanted, Owner: strings.TrimSpace(id)}
	}
	return Lease{wanted, r}, nil
}

func (p Pool) chooseIn(r Range, last netip.Addr) (netip.Addr, bool) {
	usable := func(a netip.Addr) bool { return a != r.Gateway && p.free(a) }
	size := r.size()
	at := uint64(0)
	if r.Contains(last) {
		at = r.offset(last) + 1
	}
	for n := range min(nextTries, size) {
		if a := r.at((at + n) % size); usable(a) {
			return a, true
		}
	}
	for range randomTries {
		if a := r.at(rand.Uint64N(size)); usable(a) {
			return a, true
		}
	}
	return p.scan(r)
}

// scan finds a free address with one reading of the directory. A range that is larger than the directory has entries has
// a free address among as many of its first ones.
func (p Pool) scan(r Range) (netip.Addr, bool) {
	d, err := os.Open(p.Dir)
	if err != nil {
		return netip.Addr{}, false
	}
	defer func() { _ = d.Close() }()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return netip.Addr{}, false
	}
	taken := make(map[string]bool, len(names))
	for _, n := range names {
		taken[n] = true
	}
	for n := range r.size() {
		if a := r.at(n); a != r.Gateway && !taken[a.String()] {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// assign gives each set the wanted address that lies in it.
func assign(sets []RangeSet, want []netip.Addr) ([]netip.Addr, error) {
	out := make([]netip.Addr, len(sets))
	for _, w := range want {
		i := slices.IndexFunc(sets, func(s RangeSet) bool { return s.Contains(w) })
		if i < 0 {
			return nil, fmt.Errorf("lease address %s: it is in no range of the network", w)
		}
		if out[i].IsValid() && out[i] != w {
			return nil, fmt.Errorf("lease addresses %s and %s: both are of %s, which gives one", out[i], w, sets[i])
		}
		out[i] = w
	}
	return out, nil
}

// match says whether what the owner holds is all that it asks for.
func match(sets []RangeSet, wanted, held []netip.Addr) ([]Lease, bool) {
	leases := make([]Lease, 0, len(sets))
	for i, set := range sets {
		for _, a := range held {
			n := slices.IndexFunc(set, func(r Range) bool { return r.Contains(a) })
			if n >= 0 && (!wanted[i].IsValid() || wanted[i] == a) {
				leases = append(leases, Lease{a, set[n]})
				break
			}
		}
		if len(leases) != i+1 {
			return nil, false
		}
	}
	return leases, true
}

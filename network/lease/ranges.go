package lease

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
)

// Range is a part of a subnet from which addresses are leased, both ends included.
type Range struct {
	Subnet  netip.Prefix
	Start   netip.Addr // default: the first address after the subnet's own
	End     netip.Addr // default: the last one; in IPv4, the one before the broadcast address
	Gateway netip.Addr // default: the first address after the subnet's own; never leased
}

// RangeSet is ranges of one family, one of whose addresses an owner gets.
type RangeSet []Range

// maxSize bounds how much of a range is used, so that offsets in it are simple numbers: 2^32 addresses.
const maxSize = 1 << 32

// Complete sets the defaults and checks that all lies in the subnet.
func (r *Range) Complete() error {
	if !r.Subnet.IsValid() {
		return fmt.Errorf("range without a subnet")
	}
	if r.Subnet != r.Subnet.Masked() {
		return fmt.Errorf("subnet %s has host bits set, use %s", r.Subnet, r.Subnet.Masked())
	}
	if r.Subnet.Addr().BitLen()-r.Subnet.Bits() < 2 {
		return fmt.Errorf("subnet %s is too small", r.Subnet)
	}
	first := r.Subnet.Addr().Next()
	for _, d := range []struct {
		addr *netip.Addr
		def  netip.Addr
	}{{&r.Start, first}, {&r.End, last(r.Subnet)}, {&r.Gateway, first}} {
		if !d.addr.IsValid() {
			*d.addr = d.def
		}
		if !r.Subnet.Contains(*d.addr) {
			return fmt.Errorf("%s is not in subnet %s", *d.addr, r.Subnet)
		}
	}
	if r.End.Less(r.Start) {
		return fmt.Errorf("range of %s ends at %s before it starts at %s", r.Subnet, r.End, r.Start)
	}
	return nil
}

// last gives the last address of a subnet that a pod can have.
func last(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	if a.Is4() {
		return a.Prev()
	}
	return a
}

// Contains says whether the range gives out a.
func (r Range) Contains(a netip.Addr) bool {
	return a.IsValid() && a.BitLen() == r.Start.BitLen() && !a.Less(r.Start) && !r.End.Less(a)
}

// Contains says whether one of the ranges gives out a.
func (s RangeSet) Contains(a netip.Addr) bool {
	for _, r := range s {
		if r.Contains(a) {
			return true
		}
	}
	return false
}

func (s RangeSet) String() string {
	parts := make([]string, len(s))
	for i, r := range s {
		parts[i] = r.Start.String() + "-" + r.End.String()
	}
	return strings.Join(parts, ", ")
}

// size is how many addresses of the range are used, at least 1.
func (r Range) size() uint64 { return min(r.offset(r.End)+1, maxSize) }

// offset is the distance of a from the start, a being in the range; it saturates.
func (r Range) offset(a netip.Addr) uint64 {
	s, e := r.Start.As16(), a.As16()
	hiS, loS := binary.BigEndian.Uint64(s[:8]), binary.BigEndian.Uint64(s[8:])
	hiE, loE := binary.BigEndian.Uint64(e[:8]), binary.BigEndian.Uint64(e[8:])
	if hiS != hiE {
		return maxSize
	}
	return min(loE-loS, maxSize)
}

// at is the address at an offset below size.
func (r Range) at(offset uint64) netip.Addr {
	b := r.Start.As16()
	lo := binary.BigEndian.Uint64(b[8:])
	sum := lo + offset
	binary.BigEndian.PutUint64(b[8:], sum)
	if sum < lo {
		binary.BigEndian.PutUint64(b[:8], binary.BigEndian.Uint64(b[:8])+1)
	}
	a := netip.AddrFrom16(b)
	if r.Start.Is4() {
		return a.Unmap()
	}
	return a
}

// Package rules keeps gantry's nftables rules: masquerading, published ports, isolation.
//
// It knows one table, inet gantry, in the network namespace of the calling thread. Its chains never change while pods come
// and go: they know a pod by the class in its interface's name, and its published ports as elements of maps, so that neither
// the cost of adding a pod nor that of a packet grows with their number. No other tool's table is read or written. The
// invariant is that the table is either absent or whole, as it is made in one transaction, and that an element is only
// removed together with its value: what meanwhile belongs to another pod stays.
package rules

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// ErrPortTaken says that another pod has published the port on that address.
var ErrPortTaken = errors.New("port is published by another pod")

// TakenError says whose a port is; it wraps ErrPortTaken.
type TakenError struct {
	Port  string // address:port/protocol
	Owner string // as in Elements; empty where the element does not say
}

func (e *TakenError) Error() string { return fmt.Sprintf("%s: %v", e.Port, ErrPortTaken) }
func (e *TakenError) Unwrap() error { return ErrPortTaken }

// ErrUnsupported says that the kernel has no nf_tables, or not all that the table needs (Linux 5.2 and later have).
var ErrUnsupported = errors.New("the kernel has no nf_tables of family inet with NAT and fib")

// Forward is one published port.
type Forward struct {
	Protocol string     // tcp, udp, sctp
	HostIP   netip.Addr // unspecified (0.0.0.0, ::): every local address of that family
	HostPort uint16
	To       netip.AddrPort // of HostIP's family
}

// Elements is what a pod with published ports has in the table. Each address is the pod's own.
type Elements struct {
	Network  uint32       // the group of a network's links: its pods may talk to each other
	Owner    string       // is the comment of each forward: who asks for a taken port learns whose it is. Remove needs none
	Hairpin  []netip.Addr // may come back to itself through its published ports
	Forwards []Forward
}

// Ensure makes the table if it is not there as this version of gantry has it, with a network in it. Idempotent. made says that there was none:
// whatever pods had in it is gone.
func Ensure(network uint32) (made bool, err error) {
	found, whole, known, err := current(network)
	if err == nil && (!whole || !known) {
		err = commit(func(b *batch) {
			if !whole { // no table, one of an older gantry, or one that was flushed
				create(b)
			}
			b.add(Elements{Network: network})
		})
	}
	if err != nil {
		return false, fmt.Errorf("make nftables table: %w", explain(err))
	}
	return !found, nil
}

// Add puts a pod's elements into the table, which Ensure has made. Idempotent; all or nothing. An error wraps ErrPortTaken
// where one of the ports belongs to another pod, as a *TakenError unless it was given back meanwhile.
func Add(e Elements) error {
	err := commit(func(b *batch) { b.add(e) })
	switch {
	case clash(err):
		return fmt.Errorf("publish port: %w", findTaken(e))
	case err != nil:
		return fmt.Errorf("add nftables elements: %w", err)
	}
	return nil
}

// Remove takes a pod's elements out of the table. Idempotent: elements that are not there, or have another pod's address
// as their value, are left alone, and so is everything if there is no table.
func Remove(e Elements) error {
	err := commit(func(b *batch) { b.remove(e) })
	if clash(err) {
		// One of the ports is another pod's, and has kept the whole transaction from happening.
		forwards := e.Forwards
		e.Forwards = nil
		err = commit(func(b *batch) { b.remove(e) })
		for _, f := range forwards {
			if ferr := commit(func(b *batch) { b.remove(Elements{Forwards: []Forward{f}}) }); !clash(ferr) {
				err = errors.Join(err, ferr)
			}
		}
	}
	if err == nil || absent(err) {
		return nil
	}
	return fmt.Errorf("remove nftables elements: %w", err)
}

// Reset deletes the table with everything in it. That it is not there is no error.
func Reset() error {
	err := commit(func(b *batch) {
		b.conn.AddTable(table)
		b.conn.DelTable(table)
	})
	if err == nil || absent(err) {
		return nil
	}
	return fmt.Errorf("delete nftables table: %w", err)
}

// clash says that an element exists with another value: EEXIST, or EBUSY on kernels before 5.7.
func clash(err error) bool { return errors.Is(err, unix.EEXIST) || errors.Is(err, unix.EBUSY) }

// absent says that there is nothing to remove from: no table, or no nf_tables at all.
func absent(err error) bool { return errors.Is(err, unix.ENOENT) || unsupported(err) }

func unsupported(err error) bool {
	return errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT)
}

// explain adds to an errno that nf_tables gives what it means.
func explain(err error) error {
	// ENOENT, after the table was made: an expression or chain type that the kernel does not have.
	if unsupported(err) || errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("%w (iptables-legacy is not supported yet; --net=none and --net=host work): %w", ErrUnsupported, err)
	}
	return err
}

// findTaken says which of the ports is another pod's, by trying each alone.
func findTaken(e Elements) error {
	for _, f := range e.Forwards {
		// Adding and removing in one transaction changes nothing.
		if clash(commit(func(b *batch) { b.remove(Elements{Forwards: []Forward{f}}) })) {
			port := fmt.Sprintf("%s/%s", netip.AddrPortFrom(f.HostIP, f.HostPort), f.Protocol)
			return &TakenError{Port: port, Owner: ownerOf(f)}
		}
	}
	return ErrPortTaken
}

// ownerOf reads from the table who has published the port of f; empty if that is not to be found. It reads the whole map:
// google/nftables asks for no single element, and nobody gets here but on the way to an error.
func ownerOf(f Forward) string {
	owner := ""
	for set, el := range (Elements{Forwards: []Forward{f}}).each {
		_ = dial(func(conn *nftables.Conn) error { // the error to report is that the port is taken
			all, err := conn.GetSetElements(set)
			if i := slices.IndexFunc(all, func(o nftables.SetElement) bool { return bytes.Equal(o.Key, el.Key) }); i >= 0 {
				owner = all[i].Comment
			}
			return err
		})
	}
	return owner
}

// batch is one transaction in the making.
type batch struct {
	conn    *nftables.Conn
	err     error
	deletes bool
}

// linger is how long the socket of a transaction that has deleted something stays open, see dial.
const linger = time.Second

// commit sends what fill puts into a batch as one transaction.
func commit(fill func(*batch)) error {
	conn, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return err
	}
	b := &batch{conn: conn}
	defer func() {
		if b.deletes {
			time.AfterFunc(linger, func() { _ = conn.CloseLasting() })
		} else {
			closeAside(conn)
		}
	}()
	if fill(b); b.err != nil {
		return b.err
	}
	return once(conn.Flush())
}

// once says each of joined errors once, on one line: where nf_tables lacks something, every message after the first fails too.
func once(err error) error {
	var said error
	for _, e := range leaves(err) {
		switch {
		case said == nil:
			said = e
		case !strings.Contains(said.Error(), e.Error()):
			said = fmt.Errorf("%w; %w", said, e)
		}
	}
	return said
}

// leaves are the errors that err joins, at any depth; err alone if it joins none.
func leaves(err error) []error {
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) {
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, leaves(e)...)
	}
	return all
}

// current says whether the table exists in this version, whether its chains have their rules, and whether it knows the network. It looks at one chain, the shortest: `nft
// flush table` empties all. A rule that somebody has changed is found by Read, which costs more than every start should.
func current(network uint32) (found, whole, known bool, err error) {
	err = dial(func(conn *nftables.Conn) error {
		if _, err := conn.GetSetByName(table, marker.Name); err != nil {
			return err
		}
		found = true
		all, err := conn.GetSetElements(networks)
		for _, el := range all {
			known = known || bytes.Equal(el.Key, groupKey(network))
		}
		if err != nil {
			return err
		}
		have, err := conn.GetRules(table, &nftables.Chain{Table: table, Name: "raw_prerouting"})
		whole = len(have) > 0
		return err
	})
	if errors.Is(err, unix.ENOENT) {
		return found, false, false, nil
	}
	return found, whole, known, err
}

// groupKey is a group with itself, as the packet's registers have it: in the order of this machine.
func groupKey(group uint32) []byte { return append(native32(group), native32(group)...) }

// dial opens a socket for f, to ask. Closing it is not waited for: since Linux 5.18 the close of any nf_tables socket waits until
// what any process has deleted is freed, an RCU grace period of some 10 ms, unless the kernel has begun with all of that. So has it soon, but not
// at once: the socket that has deleted stays open for a while, or until the process ends, which waits for nothing then.
func dial(f func(*nftables.Conn) error) error {
	conn, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return err
	}
	defer closeAside(conn)
	return f(conn)
}

func closeAside(conn *nftables.Conn) { go func() { _ = conn.CloseLasting() }() }

func (b *batch) add(e Elements) {
	for s, el := range e.each {
		b.elements(s, el)
	}
}

// remove adds each element before it deletes it. So deleting one that is not there is no error, and one that exists with
// another value makes the whole transaction fail.
func (b *batch) remove(e Elements) {
	b.deletes = true
	for s, el := range e.each {
		b.elements(s, el)
		b.err = errors.Join(b.err, b.conn.SetDeleteElements(s, []nftables.SetElement{el}))
	}
}

func (b *batch) elements(s *nftables.Set, el nftables.SetElement) {
	b.err = errors.Join(b.err, b.conn.SetAddElements(s, []nftables.SetElement{el}))
}

// each yields every element with the set that it belongs to.
func (e Elements) each(yield func(*nftables.Set, nftables.SetElement) bool) {
	if e.Network != 0 && !yield(networks, nftables.SetElement{Key: groupKey(e.Network)}) {
		return
	}
	for _, a := range e.Hairpin {
		if !yield(familyOf(a).hairpin, nftables.SetElement{Key: append(a.AsSlice(), a.AsSlice()...)}) {
			return
		}
	}
	for _, f := range e.Forwards {
		fam := familyOf(f.To.Addr())
		set, key := fam.forwards, []byte{protocols[f.Protocol], 0, 0, 0}
		if f.HostIP.IsUnspecified() {
			set = fam.forwardsAny
		} else {
			key = append(key, f.HostIP.AsSlice()...)
		}
		el := nftables.SetElement{
			Key: appendPort(key, f.HostPort), Val: appendPort(f.To.Addr().AsSlice(), f.To.Port()), Comment: e.Owner,
		}
		if !yield(set, el) {
			return
		}
	}
}

var protocols = map[string]byte{"tcp": unix.IPPROTO_TCP, "udp": unix.IPPROTO_UDP, "sctp": unix.IPPROTO_SCTP}

// appendPort adds a port as a part of a concatenation: in network order, padded to four bytes.
func appendPort(b []byte, port uint16) []byte {
	return append(binary.BigEndian.AppendUint16(b, port), 0, 0)
}

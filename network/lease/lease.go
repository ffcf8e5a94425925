// Package lease hands out addresses of a network and takes them back.
//
// It knows one directory per network in the format of CNI's host-local plugin: a file per leased address, named by it,
// that holds the owner, beside a lock file. So host-local can be put in its place, and both can share a directory. A second
// directory, the index, has a symbolic link per owner whose target lists the owner's addresses; it makes finding an owner's
// leases independent of how many there are, where host-local reads them all. The index is a hint: what counts is the file
// of the address. The invariant is that an address has at most one owner, and that an owner's index entry is written
// before its leases are and removed after them, so that Release finds whatever a killed Acquire left.
package lease

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrTaken says that an address that was asked for belongs to another owner.
var ErrTaken = errors.New("address is leased")

// TakenError says whose an address is; it wraps ErrTaken.
type TakenError struct {
	Addr  netip.Addr
	Owner string // its ID
}

func (e *TakenError) Error() string {
	return fmt.Sprintf("lease address %s: %v to pod %s", e.Addr, ErrTaken, e.Owner)
}
func (e *TakenError) Unwrap() error { return ErrTaken }

// ErrExhausted says that a range has no free address left.
var ErrExhausted = errors.New("no free address")

// Owner is whom an address is leased to: one interface of one pod.
type Owner struct {
	ID     string
	IfName string
}

// content is what host-local writes into the file of a lease.
func (o Owner) content() string { return o.ID + "\r\n" + o.IfName }

// Pool is the leases of one network. Its methods take the network's lock; any number of processes may use it.
type Pool struct {
	Dir   string // the network's leases; host-local's dataDir/<network>
	Index string // the network's index, a directory outside Dir
}

// Lease is one address and the range it comes from.
type Lease struct {
	Addr  netip.Addr
	Range Range
}

// Acquire leases one address of each set of ranges to the owner: of want those that lie in a set, otherwise the next free
// one. Leases that the owner holds already are given again, which makes it idempotent. It is a *TakenError if
// a wanted address belongs to someone else, and then the owner keeps what it has; an error wrapping ErrExhausted if a set is used
// up, and then nothing is leased.
func (p Pool) Acquire(o Owner, sets []RangeSet, want []netip.Addr) ([]Lease, error) {
	if err := os.MkdirAll(p.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("lease address: %w", err)
	}
	unlock, err := p.lock()
	if err != nil {
		return nil, fmt.Errorf("lease address: %w", err)
	}
	defer unlock()

	wanted, err := assign(sets, want)
	if err != nil {
		return nil, err
	}
	held, err := p.held(o)
	if err != nil {
		return nil, err
	}
	if got, ok := match(sets, wanted, held); ok {
		return got, nil
	}
	for i, w := range wanted { // before what is held is given up for it
		if w.IsValid() && !slices.Contains(held, w) {
			if _, err := p.chooseWanted(sets[i], w); err != nil {
				return nil, err
			}
		}
	}
	if err := p.release(o, held); err != nil {
		return nil, err
	}
	leases := make([]Lease, len(sets))
	for i, set := range sets {
		if leases[i], err = p.choose(i, set, wanted[i]); err != nil {
			return nil, err
		}
	}
	if err := p.write(o, leases); err != nil {
		return nil, errors.Join(err, p.release(o, addrs(leases)))
	}
	return leases, nil
}

// Release gives back whatever the owner holds. Owning nothing is no error. If last is not nil and no owner is left, it is
// called before the lock is let go, that is, before anyone can be the first again.
func (p Pool) Release(o Owner, last func() error) error {
	unlock, err := p.lock()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("release address: %w", err)
	}
	defer unlock()
	held, err := p.held(o)
	if err != nil {
		return err
	}
	if err := p.release(o, held); err != nil || last == nil {
		return err
	}
	owned, err := p.Owned()
	if err != nil || owned {
		return err
	}
	return last()
}

// Owned says whether anybody holds a lease, without reading how many do.
func (p Pool) Owned() (bool, error) {
	d, err := os.Open(p.Index)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look up leases: %w", err)
	}
	defer func() { _ = d.Close() }()
	_, err = d.Readdirnames(1)
	if errors.Is(err, io.EOF) {
		return false, nil
	}
	return err == nil, err
}

// Held gives the owner's addresses, in the order of the sets that they were leased from.
func (p Pool) Held(o Owner) ([]netip.Addr, error) {
	unlock, err := p.lock()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look up leases: %w", err)
	}
	defer unlock()
	return p.held(o)
}

// Search is Held without the index: it reads every lease, as host-local, which has no index, does itself. A network without leases has none of
// the owner's.
func (p Pool) Search(o Owner) ([]netip.Addr, error) {
	files, err := os.ReadDir(p.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("look up leases: %w", err)
	}
	var held []netip.Addr
	for _, f := range files {
		addr, err := netip.ParseAddr(f.Name())
		if err != nil {
			continue
		}
		if content, err := os.ReadFile(p.file(addr)); err == nil && strings.TrimSpace(string(content)) == o.content() {
			held = append(held, addr)
		}
	}
	return held, nil
}

// lock takes host-local's lock of the network: flock on the file "lock".
func (p Pool) lock() (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(p.Dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return func() { _ = f.Close() }, nil
}

// held asks the index, and believes it only where the lease says the same.
func (p Pool) held(o Owner) ([]netip.Addr, error) {
	target, err := os.Readlink(p.indexFile(o))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.EINVAL) { // somebody's file, which is no link
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look up leases: %w", err)
	}
	var held []netip.Addr
	for s := range strings.SplitSeq(target, ",") {
		addr, err := netip.ParseAddr(s)
		if err != nil {
			continue
		}
		content, err := os.ReadFile(p.file(addr))
		// An empty one is of who was killed between making it and writing it: nobody is at that point now, as we have the lock.
		if err == nil && (len(content) == 0 || strings.TrimSpace(string(content)) == o.content()) {
			held = append(held, addr)
		}
	}
	return held, nil
}

// release removes leases that are known to be the owner's, then its index entry.
func (p Pool) release(o Owner, held []netip.Addr) error {
	for _, addr := range held {
		if err := remove(p.file(addr)); err != nil {
			return fmt.Errorf("release address: %w", err)
		}
	}
	if err := remove(p.indexFile(o)); err != nil {
		return fmt.Errorf("release address: %w", err)
	}
	return nil
}

// write makes the leases, announced by the index.
func (p Pool) write(o Owner, leases []Lease) error {
	names := make([]string, len(leases))
	for i, l := range leases {
		names[i] = l.Addr.String()
	}
	if err := os.MkdirAll(p.Index, 0o700); err != nil {
		return fmt.Errorf("lease address: %w", err)
	}
	if err := os.Symlink(strings.Join(names, ","), p.indexFile(o)); err != nil {
		return fmt.Errorf("lease address: %w", err)
	}
	for i, l := range leases {
		f, err := os.OpenFile(p.file(l.Addr), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return fmt.Errorf("lease address: %w", err)
		}
		_, err = f.WriteString(o.content())
		if err = errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("lease address: %w", err)
		}
		if err := os.WriteFile(p.lastFile(i), []byte(names[i]), 0o600); err != nil {
			return fmt.Errorf("lease address: %w", err)
		}
	}
	return nil
}

func (p Pool) file(a netip.Addr) string { return filepath.Join(p.Dir, a.String()) }
func (p Pool) lastFile(set int) string {
	return filepath.Join(p.Dir, fmt.Sprintf("last_reserved_ip.%d", set))
}
func (p Pool) indexFile(o Owner) string { return filepath.Join(p.Index, o.ID+"-"+o.IfName) }
func (p Pool) free(a netip.Addr) bool   { return !exists(p.file(a)) }
func exists(path string) bool           { return unix.Access(path, unix.F_OK) == nil }
func addrs(leases []Lease) []netip.Addr {
	out := make([]netip.Addr, len(leases))
	for i, l := range leases {
		out[i] = l.Addr
	}
	return out
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

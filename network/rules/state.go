package rules

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// State is what the table has at one moment, for who checks it. The zero value is a host without the table.
type State struct {
	damage   string
	elements map[string]map[string]nftables.SetElement // by set and key
}

// Read takes a picture of the table. Its cost grows with the number of published ports: it is not for the way of a pod.
func Read() (*State, error) {
	s := &State{damage: "the table is not there", elements: map[string]map[string]nftables.SetElement{}}
	err := dial(func(conn *nftables.Conn) error {
		if _, err := conn.GetSetByName(table, marker.Name); err != nil {
			return err
		}
		for _, set := range sets() {
			all, err := conn.GetSetElements(set)
			if err != nil {
				return err
			}
			s.elements[set.Name] = map[string]nftables.SetElement{}
			for _, el := range all {
				s.elements[set.Name][string(el.Key)] = el
			}
		}
		s.damage = ""
		for _, c := range chains() {
			if err := s.compare(conn, c); err != nil {
				return err
			}
		}
		return s.compareHooks(conn)
	})
	switch {
	case errors.Is(err, unix.ENOENT):
		return s, nil
	case err != nil:
		return nil, fmt.Errorf("read nftables table: %w", explain(err))
	}
	return s, nil
}

// compare looks whether a chain holds the rules that it should, and nothing else.
func (s *State) compare(conn *nftables.Conn, c chain) error {
	have, err := conn.GetRules(table, &nftables.Chain{Table: table, Name: c.name})
	if err != nil {
		return err
	}
	if !slices.EqualFunc(have, c.rules, func(r *nftables.Rule, want []expr.Any) bool { return sameRule(r.Exprs, want) }) {
		s.damage = fmt.Sprintf("the rules of the chain %s are not gantry's", c.name)
	}
	return nil
}

// compareHooks looks whether the kernel asks the chains when it should, and no other chain of the table.
func (s *State) compareHooks(conn *nftables.Conn) error {
	t, err := conn.ListTableOfFamily(table.Name, table.Family)
	if err != nil {
		return err
	}
	if t.Flags != 0 {
		s.damage = "the table is dormant"
	}
	have, err := chainsOfTable(conn)
	if err != nil {
		return err
	}
	for _, c := range have {
		i := slices.IndexFunc(chains(), func(want chain) bool { return want.name == c.Name })
		if i < 0 {
			s.damage = fmt.Sprintf("the chain %s is not gantry's", c.Name)
		} else if want := chains()[i]; c.Hooknum == nil || *c.Hooknum != *want.hook || *c.Priority != *want.prio || c.Type != want.typ || *c.Policy != nftables.ChainPolicyAccept {
			s.damage = fmt.Sprintf("the chain %s is asked at another time, or has another policy", c.Name)
		}
	}
	return nil
}

func chainsOfTable(conn *nftables.Conn) ([]*nftables.Chain, error) {
	all, err := conn.ListChainsOfTableFamily(table.Family)
	return slices.DeleteFunc(all, func(c *nftables.Chain) bool { return c.Table.Name != table.Name }), err
}

// sameRule compares rules by what goes to the kernel.
func sameRule(a, b []expr.Any) bool {
	return slices.EqualFunc(a, b, func(x, y expr.Any) bool {
		p, perr := expr.Marshal(byte(table.Family), x)
		q, qerr := expr.Marshal(byte(table.Family), y)
		return perr == nil && qerr == nil && bytes.Equal(p, q)
	})
}

// Damage says what of the table's own is missing or changed; empty where it is as this version of gantry makes it.
func (s *State) Damage() string { return s.damage }

// Lacks describes the elements of e that the table does not have, or has with another value.
func (s *State) Lacks(e Elements) []string {
	var out []string
	for set, want := range e.each {
		have, ok := s.elements[set.Name][string(want.Key)]
		switch {
		case !ok:
			out = append(out, describe(set, want)+" is not there")
		case set.IsMap && !bytes.Equal(have.Val, want.Val):
			out = append(out, describe(set, want)+" leads to another pod")
		}
	}
	return out
}

// Owners are those of the published ports in the table, each once, in order.
func (s *State) Owners() []string {
	var owners []string
	for _, elements := range s.elements {
		for _, el := range elements {
			if el.Comment != "" {
				owners = append(owners, el.Comment)
			}
		}
	}
	slices.Sort(owners)
	return slices.Compact(owners)
}

// describe names an element as people would.
func describe(set *nftables.Set, el nftables.SetElement) string {
	switch set {
	case networks:
		return "the network's own traffic"
	case v4.hairpin, v6.hairpin:
		a, _ := netip.AddrFromSlice(el.Key[:len(el.Key)/2])
		return fmt.Sprintf("the way of %s to its own ports", a)
	case v4.forwardsAny, v6.forwardsAny:
		return fmt.Sprintf("published port %d", portOf(el.Key))
	}
	a, _ := netip.AddrFromSlice(el.Key[4 : len(el.Key)-4])
	return "published port " + netip.AddrPortFrom(a, portOf(el.Key)).String()
}

// portOf reads what appendPort wrote last.
func portOf(key []byte) uint16 {
	n := len(key) - 4
	return uint16(key[n])<<8 | uint16(key[n+1])
}

// Restore makes the table as it should be, whatever somebody did to its chains, and leaves its elements. Idempotent.
func Restore() error {
	err := commit(func(b *batch) { b.conn.AddTable(table) }) // wakes it, which the kernel does in a transaction of its own only
	var have []*nftables.Chain
	if err == nil {
		err = dial(func(conn *nftables.Conn) (err error) {
			have, err = chainsOfTable(conn)
			return err
		})
	}
	if err == nil {
		err = commit(func(b *batch) {
			for _, c := range have { // before any is deleted, as rules may jump to another
				b.conn.FlushChain(c)
			}
			for _, c := range have {
				b.conn.DelChain(c)
			}
			create(b)
		})
	}
	if err != nil {
		return fmt.Errorf("make nftables table: %w", explain(err))
	}
	return nil
}

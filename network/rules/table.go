package rules

import (
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// LinkPrefix begins the name of every host-side interface of a pod; the chains know pods' interfaces by it.
const LinkPrefix = "gantry"

// Class follows LinkPrefix in the name of a pod's interface, and says what the chains do with its packets.
type Class string

const (
	Masqueraded Class = "m" // leaves for the outside as the host; reached from there by published ports only
	Restricted  Class = "r" // reaches restricted pods and the host, nothing else
	Routed      Class = "p" // plain: goes out under its own address, and is reached at it
)

// The table and its sets are constants in all but Go's word.
var (
	table = &nftables.Table{Name: "gantry", Family: nftables.TableFamilyINet}

	// marker exists in a table whose chains are of this version. Whoever changes the chains gives it a new name.
	marker = &nftables.Set{Table: table, ID: 1, Name: "version_2", KeyType: nftables.TypeMark}

	// networks has each network's group with itself: what of a pod's is for a pod of another group is dropped.
	networks = &nftables.Set{
		Table: table, ID: 2, Name: "networks", KeyType: nftables.MustConcatSetType(nftables.TypeDevGroup, nftables.TypeDevGroup),
	}

	v4 = newFamily(10, "4", nftables.TypeIPAddr, unix.NFPROTO_IPV4, 12, 4)
	v6 = newFamily(20, "6", nftables.TypeIP6Addr, unix.NFPROTO_IPV6, 8, 16)
)

// family is what exists once for IPv4 and once for IPv6: sets, and where addresses lie in a packet.
type family struct {
	proto        byte
	saddr, daddr *expr.Payload

	hairpin     *nftables.Set // address . the same address
	forwards    *nftables.Set // protocol . host address . host port : pod address . pod port
	forwardsAny *nftables.Set // protocol . host port : pod address . pod port
}

func newFamily(id uint32, suffix string, addr nftables.SetDatatype, proto byte, offset, size uint32) *family {
	set := func(name string, key nftables.SetDatatype) *nftables.Set {
		id++
		return &nftables.Set{Table: table, ID: id, Name: name + suffix, KeyType: key}
	}
	toMap := func(s *nftables.Set) *nftables.Set {
		s.IsMap = true
		s.DataType = nftables.MustConcatSetType(addr, nftables.TypeInetService)
		return s
	}
	svc, l4 := nftables.TypeInetService, nftables.TypeInetProto
	return &family{
		proto:       proto,
		saddr:       &expr.Payload{Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: size, DestRegister: reg(0)},
		daddr:       &expr.Payload{Base: expr.PayloadBaseNetworkHeader, Offset: offset + size, Len: size, DestRegister: reg(0)},
		hairpin:     set("hairpin", nftables.MustConcatSetType(addr, addr)),
		forwards:    toMap(set("forwards", nftables.MustConcatSetType(l4, addr, svc))),
		forwardsAny: toMap(set("forwards_any", nftables.MustConcatSetType(l4, svc))),
	}
}

func familyOf(a netip.Addr) *family {
	if a.Is4() {
		return v4
	}
	return v6
}

// create makes the table whole, or brings the chains of one that exists up to this version and leaves its elements.
//
//	prerouting, raw      from a pod: no 127.0.0.0/8, no source address that is not the pod's
//	forward, filter      restricted pods among themselves; no network into another; into masqueraded pods only by a published port
//	prerouting, dstnat   published ports, for packets from outside
//	output, dstnat       published ports, for the host's own
//	postrouting, srcnat  masquerading
func create(b *batch) {
	b.conn.AddTable(table)
	for _, s := range sets() {
		if err := b.conn.AddSet(s, nil); err != nil {
			b.err = err
			return
		}
	}
	for _, c := range chains() {
		accept := nftables.ChainPolicyAccept
		chain := b.conn.AddChain(&nftables.Chain{
			Table: table, Name: c.name, Type: c.typ, Hooknum: c.hook, Priority: c.prio, Policy: &accept,
		})
		b.conn.FlushChain(chain)
		for _, exprs := range c.rules {
			b.conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: exprs})
		}
	}
}

// sets are all that the table has, the marker first.
func sets() []*nftables.Set {
	all := []*nftables.Set{marker, networks}
	for _, f := range []*family{v4, v6} {
		all = append(all, f.hairpin, f.forwards, f.forwardsAny)
	}
	return all
}

// chain is one chain of the table, as this version of gantry has it.
type chain struct {
	name  string
	typ   nftables.ChainType
	hook  *nftables.ChainHook
	prio  *nftables.ChainPriority
	rules [][]expr.Any
}

func chains() []chain {
	filter, nat := nftables.ChainTypeFilter, nftables.ChainTypeNAT
	return []chain{
		{"raw_prerouting", filter, nftables.ChainHookPrerouting, nftables.ChainPriorityRaw, guardRules()},
		{"forward", filter, nftables.ChainHookForward, nftables.ChainPriorityFilter, forwardRules()},
		{"prerouting", nat, nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest, preroutingRules()},
		{"output", nat, nftables.ChainHookOutput, nftables.ChainPriorityNATDest, portRules()},
		{"postrouting", nat, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource, postroutingRules()},
	}
}

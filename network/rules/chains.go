package rules

import (
	"slices"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// guardRules see every packet before conntrack does.
func guardRules() [][]expr.Any {
	return [][]expr.Any{
		// iifname "gantry*" ip daddr 127.0.0.0/8 drop
		// route_localnet, which published ports need on a pod's interface, would let the pod reach what listens on the
		// host's loopback (CVE-2020-8558). Answers to the host's own connections are not yet translated back here.
		rule(from(anyPod), v4.is(), v4.to(loopback4), drop),
		// iifname "gantry*" fib saddr . iif oif missing drop
		// A source address that is not routed to this interface is spoofed.
		rule(from(anyPod), exprs(
			&expr.Fib{Register: reg(0), FlagSADDR: true, FlagIIF: true, ResultOIF: true},
			&expr.Cmp{Op: expr.CmpOpEq, Register: reg(0), Data: []byte{0, 0, 0, 0}},
		), drop),
	}
}

// forwardRules see packets that the host routes: from a pod, to a pod, or neither.
func forwardRules() [][]expr.Any {
	return [][]expr.Any{
		// ct state established,related accept
		rule(ctBits(expr.CtKeySTATE, expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED, true), accept),
		// iifname "gantryr*" oifname != "gantryr*" drop
		rule(from(Restricted), notTo(Restricted), drop),
		// iifname != "gantryr*" oifname "gantryr*" ct status ! dnat drop
		rule(notFrom(Restricted), to(Restricted), notForwarded, drop),
		// iifname "gantry*" oifname "gantry*" ct status ! dnat iifgroup . oifgroup != @networks drop
		// Networks are apart, but for what a pod publishes to everybody.
		rule(from(anyPod), to(anyPod), notForwarded, exprs(
			&expr.Meta{Key: expr.MetaKeyIIFGROUP, Register: reg(0)}, &expr.Meta{Key: expr.MetaKeyOIFGROUP, Register: reg(1)},
			&expr.Lookup{SourceRegister: reg(0), SetName: networks.Name, Invert: true},
		), drop),
		// iifname != "gantry*" oifname "gantrym*" ct status ! dnat drop
		// A neighbour that routes the pods' subnet to this host would reach ports that nobody has published.
		rule(notFrom(anyPod), to(Masqueraded), notForwarded, drop),
	}
}

// preroutingRules translate what comes from other hosts and from pods. 127.0.0.0/8 and ::1 are never to be reached
// from there, whatever a set or another tool's route_localnet says.
func preroutingRules() [][]expr.Any {
	return append([][]expr.Any{rule(v4.is(), v4.to(loopback4), ret)}, portRules()...)
}

// portRules translate to published ports: those of one address first, then those of every address of the host. Only
// packets for the host itself are considered by the latter (CVE-2025-67499: a pod's traffic to port 443 of the world).
func portRules() [][]expr.Any {
	var rules [][]expr.Any
	for _, f := range []*family{v4, v6} {
		if f == v6 {
			// ip6 daddr ::1 return: the kernel cannot route a packet away from ::1 once it is there.
			rules = append(rules, rule(f.is(), f.to(loopback6), ret))
		}
		rules = append(rules,
			// dnat ip to meta l4proto . ip daddr . th dport map @forwards4
			rule(f.is(), f.lookupForward(f.forwards.Name, true), f.dnat()),
			// fib daddr type local dnat ip to meta l4proto . th dport map @forwards_any4
			rule(f.is(), exprs(
				&expr.Fib{Register: reg(0), FlagDADDR: true, ResultADDRTYPE: true},
				&expr.Cmp{Op: expr.CmpOpEq, Register: reg(0), Data: native32(unix.RTN_LOCAL)},
			), f.lookupForward(f.forwardsAny.Name, false), f.dnat()),
		)
	}
	return rules
}

// postroutingRules give a source address under which the answer comes back to this host.
func postroutingRules() [][]expr.Any {
	rules := [][]expr.Any{
		// oifname "gantry*" ip saddr 127.0.0.0/8 masquerade: the host's own, to a port published on 127.0.0.1
		rule(to(anyPod), v4.is(), v4.from(loopback4), masquerade),
		// iifname "gantrym*" oifname != "gantry*" masquerade (iifname in this hook since Linux 5.7)
		rule(from(Masqueraded), notTo(anyPod), masquerade),
		// oifname "gantryr*" ct status dnat masquerade: such a pod has no route but to its host
		rule(to(Restricted), forwarded, masquerade),
	}
	for _, f := range []*family{v4, v6} {
		second := *f.daddr
		second.DestRegister = reg(f.words())
		rules = append(rules,
			// ip saddr . ip daddr @hairpin4 masquerade
			rule(f.is(), exprs(f.saddr, &second, &expr.Lookup{SourceRegister: reg(0), SetName: f.hairpin.Name}), masquerade))
	}
	return rules
}

// lookupForward makes the key of a published port, and loads where it leads.
func (f *family) lookupForward(set string, withAddr bool) []expr.Any {
	next := reg(1)
	out := exprs(&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg(0)})
	if withAddr {
		addr := *f.daddr
		addr.DestRegister, next = next, reg(1+f.words())
		out = append(out, &addr)
	}
	return append(out,
		&expr.Payload{Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2, DestRegister: next},
		&expr.Lookup{SourceRegister: reg(0), DestRegister: reg(0), IsDestRegSet: true, SetName: set})
}

// dnat goes where the registers say: an address, then a port.
func (f *family) dnat() []expr.Any {
	return exprs(&expr.NAT{
		Type: expr.NATTypeDestNAT, Family: uint32(f.proto), Specified: true,
		RegAddrMin: reg(0), RegAddrMax: reg(0), RegProtoMin: reg(f.words()), RegProtoMax: reg(f.words()),
	})
}

// rule joins the parts of a rule.
func rule(parts ...[]expr.Any) []expr.Any { return slices.Concat(parts...) }

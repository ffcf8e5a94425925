package rules

import (
	"bytes"
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Parts of rules that do not depend on the family.
var (
	accept     = exprs(&expr.Verdict{Kind: expr.VerdictAccept})
	drop       = exprs(&expr.Verdict{Kind: expr.VerdictDrop})
	ret        = exprs(&expr.Verdict{Kind: expr.VerdictReturn})
	masquerade = exprs(&expr.Masq{})

	// IPS_DST_NAT of linux/netfilter/nf_conntrack_common.h: the packet came to a published port.
	forwarded    = ctBits(expr.CtKeySTATUS, 1<<5, true)
	notForwarded = ctBits(expr.CtKeySTATUS, 1<<5, false)

	loopback4 = netip.MustParsePrefix("127.0.0.0/8")
	loopback6 = netip.MustParsePrefix("::1/128")
)

func exprs(e ...expr.Any) []expr.Any { return e }

// reg numbers the sixteen 32-bit registers, which makes concatenations of parts of any size simple. Every fourth has the name
// that the kernel gives it when it is read back: that of the 128-bit register which begins there.
func reg(n uint32) uint32 {
	if n%4 == 0 {
		return unix.NFT_REG_1 + n/4
	}
	return unix.NFT_REG32_00 + n
}

// anyPod stands for all classes.
const anyPod Class = ""

// from and to ask whether a packet comes from a pod of that class, or goes to one.
func from(c Class) []expr.Any    { return linkName(expr.MetaKeyIIFNAME, expr.CmpOpEq, c) }
func notFrom(c Class) []expr.Any { return linkName(expr.MetaKeyIIFNAME, expr.CmpOpNeq, c) }
func to(c Class) []expr.Any      { return linkName(expr.MetaKeyOIFNAME, expr.CmpOpEq, c) }
func notTo(c Class) []expr.Any   { return linkName(expr.MetaKeyOIFNAME, expr.CmpOpNeq, c) }

// linkName compares the beginning of an interface's name: as many bytes as are given.
func linkName(key expr.MetaKey, op expr.CmpOp, c Class) []expr.Any {
	return exprs(&expr.Meta{Key: key, Register: reg(0)}, &expr.Cmp{Op: op, Register: reg(0), Data: []byte(LinkPrefix + c)})
}

// ctBits asks whether one of the bits is set in what conntrack says of the packet, or that none is.
func ctBits(key expr.CtKey, bits uint32, set bool) []expr.Any {
	op := expr.CmpOpEq
	if set {
		op = expr.CmpOpNeq
	}
	return exprs(
		&expr.Ct{Key: key, Register: reg(0)},
		&expr.Bitwise{SourceRegister: reg(0), DestRegister: reg(0), Len: 4, Mask: native32(bits), Xor: native32(0)},
		&expr.Cmp{Op: op, Register: reg(0), Data: native32(0)},
	)
}

// words is how many 32-bit registers an address takes.
func (f *family) words() uint32 { return f.daddr.Len / 4 }

// is asks whether the packet is of the family; what follows may look into its header.
func (f *family) is() []expr.Any {
	return exprs(
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: reg(0)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg(0), Data: []byte{f.proto}},
	)
}

// from and to ask whether the address lies in p.
func (f *family) from(p netip.Prefix) []expr.Any { return matchPrefix(f.saddr, p) }
func (f *family) to(p netip.Prefix) []expr.Any   { return matchPrefix(f.daddr, p) }

// matchPrefix compares as many whole bytes as the prefix has.
func matchPrefix(load *expr.Payload, p netip.Prefix) []expr.Any {
	part := *load
	part.Len = uint32(p.Bits() / 8)
	return exprs(&part, &expr.Cmp{Op: expr.CmpOpEq, Register: reg(0), Data: bytes.Clone(p.Addr().AsSlice()[:part.Len])})
}

func native32(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

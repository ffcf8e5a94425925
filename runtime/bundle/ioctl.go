package bundle

import (
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// With these an app types on the terminal that it was given: into the shell of whoever ran it, which reads it afterwards
// (CVE-2016-2568, CVE-2023-28339). No program in use needs them.
var typing = [2]uint32{unix.TIOCSTI, unix.TIOCLINUX}

// refuseTyping has the profile allow every ioctl but typing. A profile can only name what it allows, and the kernel looks at the lower half
// of the argument where a filter sees all of it, so that "not equal" would be passed by setting a bit of the upper half
// (CVE-2019-10063). Hence a rule for each of the bits that the two have in common: where one differs, it is another ioctl; and one
// for each thing that the rest can be.
func refuseTyping(p *specs.LinuxSeccomp) {
	found := false
	for i := range p.Syscalls {
		if rule := &p.Syscalls[i]; rule.Action == specs.ActAllow && len(rule.Args) == 0 && slices.Contains(rule.Names, "ioctl") {
			rule.Names = slices.DeleteFunc(slices.Clone(rule.Names), func(n string) bool { return n == "ioctl" })
			found = true
		}
	}
	if !found {
		return
	}
	allow := func(mask, value uint32) {
		p.Syscalls = append(p.Syscalls, specs.LinuxSyscall{Names: []string{"ioctl"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{
			{Index: 1, Value: uint64(mask), ValueTwo: uint64(value), Op: specs.OpMaskedEqual},
		}})
	}
	differ := typing[0] ^ typing[1]
	for bit := uint32(1); bit != 0; bit <<= 1 {
		if differ&bit == 0 {
			allow(bit, ^typing[0]&bit)
		}
	}
	for rest := differ; ; rest = (rest - 1) & differ { // every subset of the bits in which they differ
		if rest != typing[0]&differ && rest != typing[1]&differ {
			allow(differ, rest)
		}
		if rest == 0 {
			return
		}
	}
}

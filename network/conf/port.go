package conf

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// PortMapping publishes one port of a pod on the host. Its JSON is what CNI's capability portMappings takes.
type PortMapping struct {
	// Name is the name of an image's port, which the caller looks up to set ContainerPort and Protocol; empty where the
	// user gave the numbers.
	Name          string     `json:"name,omitempty"`
	HostIP        netip.Addr `json:"hostIP,omitzero"` // zero: every address of the host, IPv4 and IPv6
	HostPort      uint16     `json:"hostPort"`
	ContainerPort uint16     `json:"containerPort"`
	Protocol      string     `json:"protocol"` // tcp, udp or sctp
}

// MapPort is the mapping of a port as a pod's record has it. hostIP is empty for every address of the host.
func MapPort(name, protocol, hostIP string, hostPort, podPort int) (PortMapping, error) {
	m := PortMapping{Name: name, HostPort: uint16(hostPort), ContainerPort: uint16(podPort), Protocol: protocol}
	if hostIP == "" {
		return m, nil
	}
	var err error
	if m.HostIP, err = netip.ParseAddr(hostIP); err != nil {
		return m, fmt.Errorf("address of published port %d: %w", hostPort, err)
	}
	return m, nil
}

// Resolved says whether the port of the container is known.
func (p PortMapping) Resolved() bool { return p.ContainerPort != 0 && p.Protocol != "" }

// String gives the mapping in the notation of --port.
func (p PortMapping) String() string {
	var b strings.Builder
	if !p.Resolved() {
		b.WriteString(p.Name + ":")
	}
	if p.HostIP.Is6() {
		b.WriteString("[" + p.HostIP.String() + "]:")
	} else if p.HostIP.IsValid() {
		b.WriteString(p.HostIP.String() + ":")
	}
	b.WriteString(strconv.Itoa(int(p.HostPort)))
	if p.Resolved() {
		fmt.Fprintf(&b, ":%d/%s", p.ContainerPort, p.Protocol)
	}
	return b.String()
}

// ParsePort reads one value of --port:
//
//	NAME:[IP:]HOST             NAME is a port of the image; the result is not Resolved
//	[IP:]HOST:CONTAINER[/PROTO]
//
// where IP is an address of the host, IPv6 in brackets, and PROTO is tcp (the default), udp or sctp.
func ParsePort(s string) (PortMapping, error) {
	fail := func(format string, a ...any) (PortMapping, error) {
		return PortMapping{}, fmt.Errorf("%q: "+format, append([]any{s}, a...)...)
	}
	fields, err := splitPort(s)
	if err != nil {
		return fail("%w", err)
	}
	var p PortMapping
	if !isNumber(fields[0]) && !isAddr(fields[0]) {
		if p.Name, fields = fields[0], fields[1:]; p.Name == "" {
			return fail("no port name")
		} else if !isName(p.Name) {
			return fail("%q is neither a number, nor an address, nor a port's name", p.Name)
		}
	}
	if len(fields) > 0 && isAddr(fields[0]) {
		p.HostIP = netip.MustParseAddr(fields[0]).Unmap()
		if p.HostIP.Zone() != "" {
			return fail("an address with a zone cannot be published")
		}
		fields = fields[1:]
	}
	if p.Name != "" {
		if len(fields) != 1 {
			return fail("want NAME:[IP:]HOSTPORT")
		}
		if p.HostPort, err = parsePortNumber(fields[0]); err != nil {
			return fail("%w", err)
		}
		return p, nil
	}
	if len(fields) != 2 {
		return fail("want NAME:[IP:]HOSTPORT or [IP:]HOSTPORT:PORT[/PROTOCOL]")
	}
	port, proto, given := strings.Cut(fields[1], "/")
	if p.Protocol = strings.ToLower(proto); !given {
		p.Protocol = "tcp"
	}
	if !slices.Contains([]string{"tcp", "udp", "sctp"}, p.Protocol) {
		return fail("protocol %q is none of tcp, udp, sctp", proto)
	}
	if p.HostPort, err = parsePortNumber(fields[0]); err != nil {
		return fail("%w", err)
	}
	if p.ContainerPort, err = parsePortNumber(port); err != nil {
		return fail("%w", err)
	}
	return p, nil
}

// splitPort splits at colons, but not inside brackets, which it takes away.
func splitPort(s string) ([]string, error) {
	before, rest, ok := strings.Cut(s, "[")
	if !ok {
		return strings.Split(s, ":"), nil
	}
	addr, after, ok := strings.Cut(rest, "]:")
	if a, err := netip.ParseAddr(addr); !ok || err != nil || !a.Is6() {
		return nil, fmt.Errorf("brackets must hold an IPv6 address")
	}
	if before != "" && !strings.HasSuffix(before, ":") {
		return nil, fmt.Errorf("unexpected %q before an address", before)
	}
	var fields []string
	if before != "" {
		fields = strings.Split(strings.TrimSuffix(before, ":"), ":")
	}
	return slices.Concat(fields, []string{addr}, strings.Split(after, ":")), nil
}

// isName says whether a port of an image may be called so, an app's name and a slash before it included.
func isName(s string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	return strings.IndexAny(s, letters) == 0 && strings.Trim(s, letters+"._/-") == ""
}

func isNumber(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

func isAddr(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

func parsePortNumber(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 || !isNumber(s) {
		return 0, fmt.Errorf("%q is not a port number from 1 to 65535", s)
	}
	return uint16(n), nil
}

package conf

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Bandwidth is what CNI's capability bandwidth takes: bits per second, and bits. In is towards the pod.
type Bandwidth struct {
	IngressRate  uint64 `json:"ingressRate,omitempty"`
	IngressBurst uint64 `json:"ingressBurst,omitempty"`
	EgressRate   uint64 `json:"egressRate,omitempty"`
	EgressBurst  uint64 `json:"egressBurst,omitempty"`
}

// Wishes are what the arguments of a network (--net=NAME:K=V;…) ask of capabilities. Every argument is CNI_ARGS too.
//
//	IP=ADDRESS       ips        may be given more than once
//	MAC=ADDRESS      mac
//	INGRESS=RATE     bandwidth  bits per second towards the pod: 800k, 10M, 1G
//	EGRESS=RATE      bandwidth  from the pod
//	ALIAS=NAME       aliases    may be given more than once
type Wishes struct {
	IPs       []string
	MAC       string
	Bandwidth *Bandwidth
	Aliases   []string
}

var wishKeys = []string{"IP", "MAC", "INGRESS", "EGRESS", "ALIAS"}

// ParseWishes reads arguments. Keys that are no capability's are left to the plugins.
func ParseWishes(args [][2]string) (Wishes, error) {
	var w Wishes
	rate := func(s string) (uint64, uint64, error) {
		n, err := parseRate(s)
		if w.Bandwidth == nil {
			w.Bandwidth = &Bandwidth{}
		}
		// A tenth of a second's worth, and no less than a few full packets; the kernel's limit is the upper end.
		return n, min(max(n/10, 256*1024), math.MaxInt32), err
	}
	for _, kv := range args {
		var err error
		switch k, v := kv[0], kv[1]; k {
		case "IP":
			bare, _, _ := strings.Cut(v, "/") // the IPAM plugin static wants a prefix length, host-local takes one
			if _, err = netip.ParseAddr(bare); err != nil {
				err = fmt.Errorf("%q is not an IP address", v)
			}
			w.IPs = append(w.IPs, v)
		case "MAC":
			if mac, merr := net.ParseMAC(v); merr != nil || len(mac) != 6 || mac[0]&1 != 0 {
				err = fmt.Errorf("%q is not the MAC address of an interface", v)
			}
			w.MAC = v
		case "INGRESS":
			rate, burst, rerr := rate(v)
			w.Bandwidth.IngressRate, w.Bandwidth.IngressBurst, err = rate, burst, rerr
		case "EGRESS":
			rate, burst, rerr := rate(v)
			w.Bandwidth.EgressRate, w.Bandwidth.EgressBurst, err = rate, burst, rerr
		case "ALIAS":
			if !isHostName(v) {
				err = fmt.Errorf("%q is not a host name", v)
			}
			w.Aliases = append(w.Aliases, v)
		}
		if err != nil {
			return Wishes{}, err
		}
	}
	return w, nil
}

// isHostName takes letters, digits, hyphens and dots, of which the last two begin and end no name. (A regular expression
// would take 600 kB of every supervisor.)
func isHostName(s string) bool {
	if s == "" || len(s) > 253 || strings.Trim(s, "-.") != s {
		return false
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.") == ""
}

// parseRate reads bits per second with a decimal unit.
func parseRate(s string) (uint64, error) {
	unit := uint64(1)
	digits := strings.TrimRight(s, "kKMG")
	switch strings.TrimPrefix(s, digits) {
	case "":
	case "k", "K":
		unit = 1e3
	case "M":
		unit = 1e6
	case "G":
		unit = 1e9
	default:
		digits = ""
	}
	n, err := strconv.ParseUint(digits, 10, 32)
	if err != nil || n == 0 || n*unit < 8000 {
		return 0, fmt.Errorf("%q is not a rate: want bits per second, such as 800k, 10M or 1G", s)
	}
	return n * unit, nil
}

// checkWishes refuses what no plugin of the network takes. Addresses are left to the plugins: those that are executed take them as CNI_ARGS.
func (e *Entry) checkWishes(args [][2]string) error {
	w, err := ParseWishes(args)
	if err != nil {
		return err
	}
	for _, kv := range args { // a plugin would say nothing of it, and give another address
		if k := strings.ToUpper(kv[0]); k != kv[0] && slices.Contains(wishKeys, k) {
			return fmt.Errorf("network %q: argument %q: want %s", e.Name, kv[0], k)
		}
	}
	refuse := func(key, capability string) error {
		return fmt.Errorf("network %q (%s): %s= is given, and no plugin has the capability %q", e.Name, e.origin(), key, capability)
	}
	builtinOnly := !slices.ContainsFunc(e.Types, func(t string) bool { return !Builtin(t) })
	switch {
	case w.MAC != "" && builtinOnly && !slices.Contains(e.Capabilities, "mac"):
		return refuse("MAC", "mac")
	case w.Bandwidth != nil && !slices.Contains(e.Capabilities, "bandwidth"):
		return refuse("INGRESS= or EGRESS", "bandwidth")
	case w.Aliases != nil && !slices.Contains(e.Capabilities, "aliases"):
		return refuse("ALIAS", "aliases")
	}
	return nil
}

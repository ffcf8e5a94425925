package image

import (
	"net/netip"
	"strings"
)

// The grammar of names, by hand: regular expressions for it, with their counts, cost every start of gantry half a millisecond.

const (
	lower     = "abcdefghijklmnopqrstuvwxyz"
	upper     = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits    = "0123456789"
	hexDigits = digits + "abcdef"
)

// consistsOf says whether s is not empty and all of set.
func consistsOf(s, set string) bool {
	return s != "" && strings.IndexFunc(s, func(r rune) bool { return !strings.ContainsRune(set, r) }) < 0
}

// isRepository knows the distribution spec's <name>: components of lower-case letters and digits, which single dots,
// one or two underscores or any number of dashes separate. So "..", empty components and escapes stay out of URLs.
func isRepository(s string) bool {
	for component := range strings.SplitSeq(s, "/") {
		if !consistsOf(component, lower+digits+"._-") || strings.Trim(component, "._-") != component {
			return false
		}
		for _, separator := range strings.FieldsFunc(component, func(r rune) bool { return !strings.ContainsRune("._-", r) }) {
			if separator != "." && separator != "_" && separator != "__" && strings.Trim(separator, "-") != "" {
				return false
			}
		}
	}
	return true
}

const maxTag = 128

// isTag knows the distribution spec's <reference> that is no digest.
func isTag(s string) bool {
	return len(s) <= maxTag && consistsOf(s, lower+upper+digits+"_.-") && s[0] != '.' && s[0] != '-'
}

// isHost knows DNS names, IPv4 addresses and IPv6 ones in brackets, with or without a port.
func isHost(s string) bool {
	host, port, hasPort := s, "", false
	if i := strings.LastIndexByte(s, ':'); i > strings.LastIndexByte(s, ']') {
		host, port, hasPort = s[:i], s[i+1:], true
	}
	if hasPort && (len(port) > 5 || !consistsOf(port, digits)) {
		return false
	}
	if strings.HasPrefix(host, "[") {
		addr, err := netip.ParseAddr(strings.TrimSuffix(host[1:], "]"))
		return err == nil && strings.HasSuffix(host, "]") && addr.Is6() && addr.Zone() == ""
	}
	for label := range strings.SplitSeq(host, ".") {
		if !consistsOf(label, lower+digits+"-") || strings.Trim(label, "-") != label {
			return false
		}
	}
	return true
}

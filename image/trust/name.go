package trust

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/gantryrun/gantry/image"
)

// NameOf is what rules are matched against: host and path, in the one canonical way, of what the user asked for. It is
// empty for images that come from this machine's files, which have no name that means anything, and for image IDs.
// What an image or archive calls itself is never asked.
func NameOf(ref image.Ref) (string, error) {
	switch ref.Kind {
	case image.Registry:
		return canonical(ref.Registry + "/" + ref.Repository)
	case image.ACI:
		return canonical(appcName(ref.Name))
	default:
		return "", nil
	}
}

// appcName takes scheme, version and labels off: example.com/app of aci:example.com/app:1.0,os=linux, and
// example.com/x.aci of https://example.com/x.aci.
func appcName(s string) string {
	if rest, ok := strings.CutPrefix(s, "aci:"); ok {
		return rest[:strings.IndexAny(rest+":", ":,")]
	}
	_, rest, _ := strings.Cut(s, "://")
	return rest
}

// errName: a name that means nothing, or two things to two readers.
var errName = errors.New("ambiguous name")

// hosts that are another name of one registry. Rules for one have to hold for all.
var aliases = map[string]string{"index.docker.io": "docker.io", "registry-1.docker.io": "docker.io"}

const maxName = 2048

// canonical returns the one spelling of HOST[:PORT][/PATH...], or errName. Two spellings of one server must not be two
// names, or a rule for the one would be passed by with the other: upper case is refused where somebody wrote it and the
// port that https has anyway goes.
func canonical(s string) (string, error) {
	if s == "" || len(s) > maxName {
		return "", fmt.Errorf("%w: 1 to %d bytes expected", errName, maxName)
	}
	host, path, hasPath := strings.Cut(s, "/")
	host, err := canonicalHost(host)
	if err != nil {
		return "", fmt.Errorf("%w %q: %w", errName, s, err)
	}
	if !hasPath {
		return host, nil
	}
	for part := range strings.SplitSeq(path, "/") {
		if err := checkComponent(part); err != nil {
			return "", fmt.Errorf("%w %q: %w", errName, s, err)
		}
	}
	return host + "/" + path, nil
}

func canonicalHost(s string) (string, error) {
	host, port := s, ""
	if i := strings.LastIndexByte(s, ':'); i >= 0 && !strings.HasSuffix(s, "]") {
		host, port = s[:i], s[i+1:]
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 || strconv.FormatUint(n, 10) != port {
			return "", fmt.Errorf("port %q", port)
		}
	}
	if strings.HasPrefix(host, "[") {
		addr, err := netip.ParseAddr(strings.TrimSuffix(host[1:], "]"))
		if err != nil || !addr.Is6() || addr.Zone() != "" || !strings.HasSuffix(host, "]") {
			return "", fmt.Errorf("address %q", host)
		}
		host = "[" + addr.String() + "]"
		if addr.Is4In6() {
			host = addr.Unmap().String()
		}
	} else if err := checkHost(host); err != nil {
		return "", err
	}
	if name, ok := aliases[host]; ok {
		host = name
	}
	if port == "" || port == "443" {
		return host, nil
	}
	return host + ":" + port, nil
}

// checkHost accepts a DNS name in lower case and ASCII, or an IPv4 address as everybody reads it.
func checkHost(host string) error {
	labels := strings.Split(host, ".")
	for _, label := range labels {
		if strings.Trim(label, lower+digits+"-") != "" || label == "" || strings.Trim(label, "-") != label || len(label) > 63 {
			return fmt.Errorf("host %q: want a name in lower case, without a dot at its end", host)
		}
	}
	// 127.1, 0x7f.1 and 010.0.0.1 are addresses to some resolvers.
	last := labels[len(labels)-1]
	if strings.Trim(last, digits) == "" || strings.HasPrefix(last, "0x") {
		if addr, err := netip.ParseAddr(host); err != nil || addr.String() != host {
			return fmt.Errorf("host %q is neither a name nor an address", host)
		}
	}
	return nil
}

const (
	lower  = "abcdefghijklmnopqrstuvwxyz"
	digits = "0123456789"
)

// checkComponent accepts what a registry's repository or an appc name can be made of; so never "..", a byte that an
// URL would escape, or nothing.
func checkComponent(s string) error {
	if s == "" || strings.Trim(s, lower+digits+"._~-") != "" || strings.Trim(s, "._~-") != s || strings.Contains(s, "..") {
		return fmt.Errorf("component %q", s)
	}
	return nil
}

// parents of a/b/c: itself, a/b, a and the root of all names, "".
func parents(name string) []string {
	list := []string{name}
	for name != "" {
		name = name[:max(0, strings.LastIndexByte(name, '/'))]
		list = append(list, name)
	}
	return list
}

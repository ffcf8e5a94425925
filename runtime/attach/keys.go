package attach

import (
	"bytes"
	"fmt"
	"strings"
)

// DefaultKeys detach as they do from docker and podman.
const DefaultKeys = "ctrl-p,ctrl-q"

// ParseKeys parses a sequence of keys, "ctrl-p,ctrl-q" or "x,y"; "" is none: nothing that is typed detaches.
func ParseKeys(s string) ([]byte, error) {
	if s == "" {
		return nil, nil
	}
	var keys []byte
	for part := range strings.SplitSeq(s, ",") {
		name, ctrl := strings.CutPrefix(strings.ToLower(part), "ctrl-")
		switch {
		case len(part) == 1 && part[0] > ' ' && part[0] < 0x7f:
			keys = append(keys, part[0])
		case ctrl && len(name) == 1 && (name[0] >= 'a' && name[0] <= 'z' || strings.ContainsAny(name, "@[\\]^_")):
			keys = append(keys, strings.ToUpper(name)[0]&0x1f)
		default:
			return nil, fmt.Errorf("detach keys %q: want single characters and ctrl-X, X one of a-z @ [ \\ ] ^ _, separated by commas", s)
		}
	}
	return keys, nil
}

// detector finds the detach keys in what is typed. They are held back until it is clear whether they are all there.
type detector struct {
	keys []byte
	held int // of keys, that were typed last
}

// filter returns what of p is for the app, and whether the sequence is complete: then what came after it is nobody's.
func (d *detector) filter(p []byte) (out []byte, detach bool) {
	if len(d.keys) == 0 {
		return p, false
	}
	for _, b := range p {
		for d.held > 0 && b != d.keys[d.held] {
			// What was held is not the beginning; a shorter end of it may be.
			n := d.held
			d.held--
			for d.held > 0 && !bytes.Equal(d.keys[n-d.held:n], d.keys[:d.held]) {
				d.held--
			}
			out = append(out, d.keys[:n-d.held]...)
		}
		if b != d.keys[d.held] {
			out = append(out, b)
			continue
		}
		if d.held++; d.held == len(d.keys) {
			return out, true
		}
	}
	return out, false
}

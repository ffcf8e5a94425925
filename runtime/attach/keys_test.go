package attach

import (
	"bytes"
	"testing"
)

func TestParseKeys(t *testing.T) {
	for in, want := range map[string]string{"": "", DefaultKeys: "\x10\x11", "ctrl-@": "\x00", "a,b": "ab", "CTRL-a": "\x01", "ctrl-[": "\x1b"} {
		if got, err := ParseKeys(in); err != nil || string(got) != want {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
	for _, in := range []string{"ctrl-", "ctrl-1", "ab", ",", "a,", "ctrl-p ctrl-q", "\x01", "é"} {
		if got, err := ParseKeys(in); err == nil {
			t.Errorf("%q: %q", in, got)
		}
	}
}

// The sequence is found wherever reads cut it, and nothing else is lost or reordered.
func TestDetector(t *testing.T) {
	for _, c := range []struct {
		keys, in, out string
		detach        bool
	}{
		{"pq", "abc", "abc", false},
		{"pq", "apbq", "apbq", false},
		{"pq", "appqz", "ap", true},
		{"pq", "ap", "a", false}, // held
		{"aab", "aaab", "a", true},
		{"abac", "ababac", "ab", true},
		{"abac", "abab_", "abab_", false},
		{"", "pq", "pq", false},
	} {
		for cut := range len(c.in) + 1 {
			d := detector{keys: []byte(c.keys)}
			var out bytes.Buffer
			detach := false
			for _, part := range []string{c.in[:cut], c.in[cut:]} {
				if !detach {
					var p []byte
					p, detach = d.filter([]byte(part))
					out.Write(p)
				}
			}
			if out.String() != c.out || detach != c.detach {
				t.Errorf("keys %q, %q cut at %d: %q, %v; want %q, %v", c.keys, c.in, cut, out.String(), detach, c.out, c.detach)
			}
		}
	}
}

package fetch

import (
	"testing"

	"github.com/opencontainers/go-digest"
)

// TestRoom: what has been seen of a layer says how large it will be.
func TestRoom(t *testing.T) {
	const mb = 1 << 20
	type layer struct{ size, in, out int64 }
	for name, c := range map[string]struct {
		layers []layer
		want   int64
	}{
		"nothing seen":           {[]layer{{10 * mb, 0, 0}, {5 * mb, 0, 0}}, 15 * mb},
		"whole":                  {[]layer{{10 * mb, 10 * mb, 32 * mb}}, 32 * mb},
		"small and whole":        {[]layer{{1000, 1000, 4000}}, 4000},
		"half":                   {[]layer{{10 * mb, 5 * mb, 20 * mb}}, 40 * mb},
		"another has not begun":  {[]layer{{10 * mb, 5 * mb, 20 * mb}, {2 * mb, 0, 0}}, 48 * mb},
		"another has just begun": {[]layer{{10 * mb, 5 * mb, 20 * mb}, {2 * mb, 1, 0}}, 48 * mb},
		"does not shrink":        {[]layer{{10 * mb, 10 * mb, 9 * mb}}, 10 * mb},
	} {
		r := room{}
		for i, l := range c.layers {
			p := &progress{size: l.size}
			p.in.Store(l.in)
			p.out.Store(l.out)
			r[digest.FromString(string(rune('a'+i)))] = p
		}
		if got := r.need(); got < c.want-8 || got > c.want+8 {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

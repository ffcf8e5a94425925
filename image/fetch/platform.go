package fetch

import (
	"fmt"
	"runtime"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantryrun/gantry/image"
)

// parsePlatform reads os/arch[/variant]; "" is this machine.
func parsePlatform(s string) (ocispec.Platform, error) {
	if s == "" {
		return ocispec.Platform{OS: runtime.GOOS, Architecture: runtime.GOARCH, Variant: defaultVariant(runtime.GOARCH)}, nil
	}
	parts := strings.Split(s, "/")
	if len(parts) < 2 || len(parts) > 3 || parts[0] == "" || parts[1] == "" {
		return ocispec.Platform{}, fmt.Errorf("platform %q: want os/arch[/variant]", s)
	}
	p := ocispec.Platform{OS: parts[0], Architecture: parts[1], Variant: defaultVariant(parts[1])}
	if len(parts) == 3 {
		p.Variant = parts[2]
	}
	return p, nil
}

// defaultVariant: what an architecture without one means.
func defaultVariant(arch string) string {
	switch arch {
	case "arm":
		return "v7"
	case "arm64":
		return "v8"
	}
	return ""
}

// suits rates how well an image of platform have runs where want is asked for: 0 not at all, more is better.
// A 32-bit ARM machine runs older variants too; the newest that it runs is best.
func suits(want, have ocispec.Platform) int {
	if have.OS != want.OS || have.Architecture != want.Architecture {
		return 0
	}
	if have.Variant == "" {
		have.Variant = defaultVariant(have.Architecture)
	}
	switch {
	case have.Variant == want.Variant:
		return 100
	case want.Architecture == "arm" && have.Variant < want.Variant:
		return 10 + int(have.Variant[len(have.Variant)-1]-'0')
	case want.Architecture == "amd64" && want.Variant == "" && have.Variant == "v1":
		return 50
	}
	return 0
}

// choose picks an index's best image for a platform: the first of the best. Entries that say no platform are indexes
// to look into, or images of old tools; they are taken only if nothing says that it suits.
func choose(index *ocispec.Index, want ocispec.Platform) (ocispec.Descriptor, error) {
	var best ocispec.Descriptor
	rank := -1
	var offered []string
	for _, desc := range index.Manifests {
		r := 0
		if desc.Platform != nil {
			if r = suits(want, *desc.Platform); r == 0 {
				offered = append(offered, platformString(*desc.Platform))
				continue
			}
		}
		if r > rank {
			best, rank = desc, r
		}
	}
	if rank < 0 {
		return best, fmt.Errorf("%w: wanted %s, offered %s", image.ErrPlatform, platformString(want), listed(offered))
	}
	return best, nil
}

func listed(names []string) string {
	const some = 12
	if len(names) == 0 {
		return "none"
	}
	if len(names) > some {
		return strings.Join(names[:some], ", ") + fmt.Sprintf(" and %d more", len(names)-some)
	}
	return strings.Join(names, ", ")
}

// platformString quotes what an image says of itself: it ends up on a terminal.
func platformString(p ocispec.Platform) string {
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	if q := fmt.Sprintf("%q", s); len(q) != len(s)+2 || len(q) > 100 {
		return q[:min(len(q), 100)]
	}
	return s
}

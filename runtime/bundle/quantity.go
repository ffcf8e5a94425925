package bundle

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// byteUnits: capital letters are powers of 1000, with i of 1024, as in rkt; small letters powers of 1024, as in podman.
var byteUnits = map[string]float64{
	"": 1, "b": 1, "B": 1,
	"K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12,
	"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
	"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40,
}

// ParseBytes parses a size: "512M", "1.5Gi", "64k", "1048576".
func ParseBytes(s string) (int64, error) {
	i := len(s)
	for i > 0 && (s[i-1] < '0' || s[i-1] > '9') {
		i--
	}
	unit, ok := byteUnits[s[i:]]
	n, err := strconv.ParseFloat(s[:i], 64)
	if !ok || err != nil || strings.ContainsAny(s[:i], "+-eExX_nN") || n*unit < 1 || n*unit > math.MaxInt64/2 {
		return 0, fmt.Errorf("%q: want a size such as 512M (10^6), 512Mi or 512m (2^20)", clip(s))
	}
	return int64(n * unit), nil
}

// The least that limits may be. With less memory the kernel kills an app before it has executed its program; quotas of CPU time it
// takes from 1 ms per 100 ms on.
const (
	MinMemory = 4_000_000 // bytes
	MinCPU    = 10        // thousandths of a core
)

// ParseMemory parses a limit of memory, as ParseBytes does.
func ParseMemory(s string) (int64, error) {
	n, err := ParseBytes(s)
	if err == nil && n < MinMemory {
		return 0, fmt.Errorf("%q: no app starts in %d bytes: want 4M or more", clip(s), n)
	}
	return n, err
}

// ParseCPU parses an amount of CPU time, in cores ("1.5") or thousandths of a core ("500m"), and returns thousandths.
func ParseCPU(s string) (int64, error) {
	number, milli := strings.CutSuffix(s, "m")
	n, err := strconv.ParseFloat(number, 64)
	if !milli {
		n *= 1000
	}
	if err != nil || strings.ContainsAny(number, "+-eExX_nN") || n < MinCPU || n > 1e9 {
		return 0, fmt.Errorf("%q: want cores (1.5) or thousandths of a core (500m), at least 10m", clip(s))
	}
	return int64(n), nil
}

// parseRange parses a whole number from lo to hi.
func parseRange(s string, lo, hi int64) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < lo || n > hi {
		return 0, fmt.Errorf("%q: want a number from %d to %d", clip(s), lo, hi)
	}
	return n, nil
}

// ParsePIDs parses a limit of processes; 0 and -1 are none.
func ParsePIDs(s string) (int64, error) {
	n, err := parseRange(s, -1, 1<<22)
	if n == 0 {
		n = -1
	}
	return n, err
}

// ParseCPUShares parses a weight of CPU time, 2 to 262144.
func ParseCPUShares(s string) (uint64, error) {
	n, err := parseRange(s, 2, 262144)
	return uint64(n), err
}

// ParseIOWeight parses a weight of disk time, 10 to 1000.
func ParseIOWeight(s string) (uint16, error) {
	n, err := parseRange(s, 10, 1000)
	return uint16(n), err
}

// ParseOOMScoreAdj parses -1000 to 1000.
func ParseOOMScoreAdj(s string) (*int, error) {
	n, err := parseRange(s, -1000, 1000)
	v := int(n)
	return &v, err
}

package isolator

import (
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"strings"

	"github.com/gantryrun/gantry/image/strictjson"
)

// suffixes of a quantity (spec, ace.md, "Resource Isolators"), and k, which the library of appc wrote.
var suffixes = map[string]*big.Rat{
	"": ratio(1, 1), "m": ratio(1, 1000),
	"k": ratio(1e3, 1), "K": ratio(1e3, 1), "M": ratio(1e6, 1), "G": ratio(1e9, 1), "T": ratio(1e12, 1), "P": ratio(1e15, 1), "E": ratio(1e18, 1),
	"Ki": ratio(1<<10, 1), "Mi": ratio(1<<20, 1), "Gi": ratio(1<<30, 1), "Ti": ratio(1<<40, 1), "Pi": ratio(1<<50, 1), "Ei": ratio(1<<60, 1),
}

func ratio(a, b int64) *big.Rat { return big.NewRat(a, b) }

// limit reads a resource's limit in 1/unit of its base, 0 where it has none. What it requests is a hint to who places pods on hosts.
func limit(value json.RawMessage, unit int64) (int64, error) {
	var v struct {
		Default bool            `json:"default"`
		Request json.RawMessage `json:"request"`
		Limit   json.RawMessage `json:"limit"`
	}
	if err := strictjson.Decode(value, &v); err != nil {
		return 0, err
	}
	request, err := quantity(v.Request, unit)
	if err != nil {
		return 0, fmt.Errorf("request: %w", err)
	}
	n, err := quantity(v.Limit, unit)
	switch {
	case err != nil:
		return 0, fmt.Errorf("limit: %w", err)
	case v.Limit != nil && n == 0:
		return 0, fmt.Errorf("limit %s: want more than nothing", v.Limit)
	case v.Limit != nil && request > n:
		return 0, fmt.Errorf("it requests %s, and is limited to %s", v.Request, v.Limit)
	}
	return n, nil
}

// quantity takes a string, or a number as JSON has it. Nothing at all is 0.
func quantity(raw json.RawMessage, unit int64) (int64, error) {
	if raw == nil {
		return 0, nil
	}
	text := string(raw)
	if strings.HasPrefix(text, `"`) {
		if err := json.Unmarshal(raw, &text); err != nil {
			return 0, err
		}
	}
	number := strings.TrimRight(text, "mkKMGTPEi")
	factor, ok := suffixes[text[len(number):]]
	if !ok || number == "" || len(number) > 32 || strings.Trim(number, "0123456789.") != "" {
		return 0, fmt.Errorf("%q: want a quantity such as 512M, 1Gi or 250m", text)
	}
	n, ok := new(big.Rat).SetString(number)
	if !ok {
		return 0, fmt.Errorf("%q: want a quantity such as 512M, 1Gi or 250m", text)
	}
	n.Mul(n, factor).Mul(n, ratio(unit, 1))
	whole := new(big.Int).Quo(n.Num(), n.Denom())
	if !whole.IsInt64() || whole.Int64() > math.MaxInt64/2 {
		return 0, fmt.Errorf("%q is too much", text)
	}
	return whole.Int64(), nil
}

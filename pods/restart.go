package pods

import (
	"fmt"
	"strconv"
	"strings"
)

// RestartPolicy is what App.Restart says: whether an app that ended is started again, inside its pod. The zero value: never.
type RestartPolicy struct {
	OnSuccess bool // it ended with 0
	OnFailure bool // it ended with anything else
	Max       int  // restarts at most; 0: as many as it takes
}

// ParseRestart parses "no", "on-failure", "on-failure:N" and "always"; "" is "no".
func ParseRestart(s string) (RestartPolicy, error) {
	switch s {
	case "", "no":
		return RestartPolicy{}, nil
	case "always":
		return RestartPolicy{OnSuccess: true, OnFailure: true}, nil
	case "on-failure":
		return RestartPolicy{OnFailure: true}, nil
	}
	if n, ok := strings.CutPrefix(s, "on-failure:"); ok {
		if limit, err := strconv.ParseUint(n, 10, 31); err == nil && limit > 0 {
			return RestartPolicy{OnFailure: true, Max: int(limit)}, nil
		}
	}
	return RestartPolicy{}, fmt.Errorf("restart policy %q: want no, on-failure, on-failure:N or always", s)
}

// Again reports whether an app that ended with code, and was restarted before as often as it says, is to be started again.
func (p RestartPolicy) Again(code, restarts int) bool {
	wanted := p.OnFailure && code != 0 || p.OnSuccess && code == 0
	return wanted && (p.Max == 0 || restarts < p.Max)
}

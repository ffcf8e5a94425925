package pods

import "testing"

func TestParseRestart(t *testing.T) {
	for _, c := range []struct {
		text string
		want RestartPolicy
		ok   bool
	}{
		{"", RestartPolicy{}, true},
		{"no", RestartPolicy{}, true},
		{"always", RestartPolicy{OnSuccess: true, OnFailure: true}, true},
		{"on-failure", RestartPolicy{OnFailure: true}, true},
		{"on-failure:3", RestartPolicy{OnFailure: true, Max: 3}, true},
		{"on-failure:0", RestartPolicy{}, false},
		{"on-failure:-1", RestartPolicy{}, false},
		{"on-failure:", RestartPolicy{}, false},
		{"always:3", RestartPolicy{}, false},
		{"unless-stopped", RestartPolicy{}, false},
	} {
		got, err := ParseRestart(c.text)
		if got != c.want || (err == nil) != c.ok {
			t.Errorf("%q: %+v, %v", c.text, got, err)
		}
	}
}

func TestAgain(t *testing.T) {
	for _, c := range []struct {
		policy         string
		code, restarts int
		want           bool
	}{
		{"no", 1, 0, false},
		{"always", 0, 1000, true},
		{"always", 137, 0, true},
		{"on-failure", 0, 0, false},
		{"on-failure", 1, 1000, true},
		{"on-failure:2", 1, 1, true},
		{"on-failure:2", 1, 2, false},
	} {
		p, err := ParseRestart(c.policy)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Again(c.code, c.restarts); got != c.want {
			t.Errorf("%s after %d with code %d: %v", c.policy, c.restarts, c.code, got)
		}
	}
}

package pods

import (
	"reflect"
	"testing"
)

func TestParseReady(t *testing.T) {
	for _, c := range []struct {
		text string
		want Readiness
		ok   bool
	}{
		{"", Readiness{}, true},
		{"notify", Readiness{Kind: ReadyNotify}, true},
		{"tcp:5432", Readiness{Kind: ReadyTCP, Port: 5432}, true},
		{"http:80", Readiness{Kind: ReadyHTTP, Port: 80, Path: "/"}, true},
		{"http:80/healthz?deep=1", Readiness{Kind: ReadyHTTP, Port: 80, Path: "/healthz?deep=1"}, true},
		{"http:80/a b", Readiness{}, false},
		{"http:80/\r\nX: y", Readiness{}, false},
		{"tcp:0", Readiness{}, false},
		{"tcp:65536", Readiness{}, false},
		{"tcp:80/x", Readiness{}, false},
		{"tcp", Readiness{}, false},
		{"exec:test -e /ready:yes", Readiness{Kind: ReadyExec, Command: []string{"/bin/sh", "-c", "test -e /ready:yes"}}, true},
		{`exec:["/check", "a b"]`, Readiness{Kind: ReadyExec, Command: []string{"/check", "a b"}}, true},
		{"exec:", Readiness{}, false},
		{"exec", Readiness{}, false},
		{`exec:[""]`, Readiness{}, false},
		{`exec:["/check"`, Readiness{}, false},
	} {
		if got, err := ParseReady(c.text); !reflect.DeepEqual(got, c.want) || (err == nil) != c.ok {
			t.Errorf("%q: %+v, %v", c.text, got, err)
		}
	}
}

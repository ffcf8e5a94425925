package rules

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func read(t *testing.T) *State {
	t.Helper()
	s, err := Read()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestState(t *testing.T) {
	clean(t)
	mine := Elements{Network: 7, Owner: "pod-a", Hairpin: []netip.Addr{netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("fd00::2")}, Forwards: []Forward{
		forward("0.0.0.0", 80, "10.0.0.2:8080"), forward("::", 80, "[fd00::2]:8080"), forward("127.0.0.1", 81, "10.0.0.2:81"),
	}}
	if s := read(t); s.Damage() != "the table is not there" || len(s.Lacks(mine)) != 6 {
		t.Errorf("without a table: %q, %v", s.Damage(), s.Lacks(mine))
	}
	ensure(t)
	if err := Add(mine); err != nil {
		t.Fatal(err)
	}
	if s := read(t); s.Damage() != "" || s.Lacks(mine) != nil || !slices.Equal(s.Owners(), []string{"pod-a"}) {
		t.Errorf("whole: %q, lacks %v, owners %v", s.Damage(), s.Lacks(mine), s.Owners())
	}
	whole := nft(t, "list", "ruleset")

	for name, test := range map[string]struct {
		spoil  []string
		damage string
		lacks  string
	}{
		"a port is gone":      {[]string{"delete", "element", "inet", "gantry", "forwards4", "{ tcp . 127.0.0.1 . 81 }"}, "", "published port 127.0.0.1:81 is not there"},
		"a way back is gone":  {[]string{"flush", "set", "inet", "gantry", "hairpin6"}, "", "the way of fd00::2 to its own ports is not there"},
		"a chain is empty":    {[]string{"flush", "chain", "inet", "gantry", "forward"}, "the rules of the chain forward are not gantry's", ""},
		"a rule too many":     {[]string{"add", "rule", "inet", "gantry", "output", "drop"}, "the rules of the chain output are not gantry's", ""},
		"a rule in the way":   {[]string{"insert", "rule", "inet", "gantry", "postrouting", "accept"}, "the rules of the chain postrouting are not gantry's", ""},
		"all rules are gone":  {[]string{"flush", "table", "inet", "gantry"}, "the rules of the chain postrouting are not gantry's", ""},
		"a chain is gone":     {[]string{"delete", "chain", "inet", "gantry", "output"}, "the rules of the chain output are not gantry's", ""},
		"a chain too many":    {[]string{"add chain inet gantry evil { type filter hook forward priority -5; policy drop; }; add rule inet gantry evil accept"}, "the chain evil is not gantry's", ""},
		"chains that jump":    {[]string{"add chain inet gantry evil; add rule inet gantry evil drop; add rule inet gantry forward jump evil"}, "the chain evil is not gantry's", ""},
		"a policy of drop":    {[]string{"add chain inet gantry forward { policy drop; }"}, "the chain forward is asked at another time, or has another policy", ""},
		"another hook":        {[]string{"delete chain inet gantry forward; add chain inet gantry forward { type filter hook input priority 0; }"}, "the chain forward is asked at another time, or has another policy", ""},
		"the table sleeps":    {[]string{"add table inet gantry { flags dormant; }"}, "the table is dormant", ""},
		"everything is gone":  {[]string{"flush", "ruleset"}, "the table is not there", "published port 80 is not there"},
		"only the table went": {[]string{"delete", "table", "inet", "gantry"}, "the table is not there", "published port 127.0.0.1:81 is not there"},
	} {
		t.Run(name, func(t *testing.T) {
			nft(t, test.spoil...)
			s := read(t)
			if s.Damage() != test.damage {
				t.Errorf("damage %q, want %q", s.Damage(), test.damage)
			}
			if lacks := strings.Join(s.Lacks(mine), ", "); !strings.Contains(lacks, test.lacks) || (test.lacks == "") != (lacks == "") {
				t.Errorf("lacks %q, want %q", lacks, test.lacks)
			}
			if err := Restore(); err != nil {
				t.Fatal(err)
			}
			if err := Add(mine); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(sorted(whole), sorted(nft(t, "list", "ruleset"))); diff != "" {
				t.Errorf("restored:\n%s", diff)
			}
		})
	}
	taken := Elements{Forwards: []Forward{forward("0.0.0.0", 80, "10.0.0.3:80")}}
	if lacks := read(t).Lacks(taken); !slices.Equal(lacks, []string{"published port 80 leads to another pod"}) {
		t.Errorf("of another pod: %v", lacks)
	}
}

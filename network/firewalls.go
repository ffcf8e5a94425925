package network

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"github.com/gantryrun/gantry/network/audit"
	"github.com/gantryrun/gantry/network/rules"
)

// A firewall of somebody else's that drops what it does not know drops what pods send and get, as in nftables one table's accept
// does not overrule another's drop. These are known by name, with the commands that make them let pods through, in a way that letsPods sees.
var advice = []struct{ name, chain, table, hint string }{
	{"Docker", "DOCKER-USER", "", "iptables -I DOCKER-USER -i gantry+ -j ACCEPT; iptables -I DOCKER-USER -o gantry+ -j ACCEPT"},
	{"ufw", "ufw-before-forward", "", ufwAdvice},
	{"ufw", "ufw6-before-forward", "", ufwAdvice},
	{"firewalld", "", "firewalld", "firewall-cmd --permanent --zone=trusted --add-interface=gantry+; firewall-cmd --reload"},
}

const ufwAdvice = "ufw route allow in on gantry+; ufw route allow out on gantry+"

// foreignFirewalls names the ones that drop forwarded packets: in nf_tables, where iptables-nft keeps its rules too, and in
// the older tables of iptables-legacy.
func foreignFirewalls() []audit.Finding {
	found := slices.Concat(nftFirewalls(), legacyFirewalls())
	if found == nil {
		return []audit.Finding{{What: "firewall", OK: true, Found: "no other firewall drops what pods send or get"}}
	}
	return found
}

func nftFirewalls() []audit.Finding {
	var found []audit.Finding
	conn, err := nftables.New()
	if err != nil {
		return nil
	}
	chains, err := conn.ListChains()
	if err != nil {
		return []audit.Finding{{What: "firewall", Found: fmt.Sprintf("the chains of nf_tables cannot be read: %v", err)}}
	}
	for _, c := range chains {
		if c.Hooknum == nil || *c.Hooknum != *nftables.ChainHookForward || c.Table.Name == "gantry" && c.Table.Family == nftables.TableFamilyINet {
			continue
		}
		if c.Table.Family != nftables.TableFamilyINet && c.Table.Family != nftables.TableFamilyIPv4 && c.Table.Family != nftables.TableFamilyIPv6 {
			continue
		}
		rules, err := conn.GetRules(c.Table, c)
		if err != nil || !drops(c, rules) {
			continue
		}
		var names []string
		known := false
		for _, o := range chains {
			if o.Table.Name == c.Table.Name && o.Table.Family == c.Table.Family {
				names = append(names, o.Name)
				known = known || letsPods(conn, o)
			}
		}
		f := firewallFinding(fmt.Sprintf("chain %s of table %s %s", c.Name, familyName(c.Table.Family), c.Table.Name), c.Table.Name, names, known)
		if c.Table.Family == nftables.TableFamilyIPv6 {
			f.Hint = strings.ReplaceAll(f.Hint, "iptables ", "ip6tables ")
		}
		found = append(found, f)
	}
	return found
}

// drops says whether a chain ends by dropping: by its policy, or by a last rule that takes everything.
func drops(c *nftables.Chain, rules []*nftables.Rule) bool {
	if c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop {
		return true
	}
	if len(rules) == 0 {
		return false
	}
	for _, e := range rules[len(rules)-1].Exprs {
		switch v := e.(type) {
		case *expr.Counter:
		case *expr.Reject:
			return true
		case *expr.Verdict:
			return v.Kind == expr.VerdictDrop
		default:
			return false
		}
	}
	return false
}

// letsPods says whether a chain accepts by the name of pods' interfaces.
func letsPods(conn *nftables.Conn, c *nftables.Chain) bool {
	all, err := conn.GetRules(c.Table, c)
	return err == nil && slices.ContainsFunc(all, func(r *nftables.Rule) bool {
		named, accepted := false, false
		for _, e := range r.Exprs {
			switch v := e.(type) {
			case *expr.Cmp:
				named = named || bytes.Equal(v.Data, []byte(rules.LinkPrefix))
			case *expr.Verdict:
				accepted = v.Kind == expr.VerdictAccept
			}
		}
		return named && accepted
	})
}

func familyName(f nftables.TableFamily) string {
	switch f {
	case nftables.TableFamilyIPv4:
		return "ip"
	case nftables.TableFamilyIPv6:
		return "ip6"
	}
	return "inet"
}

// firewallFinding names whose a dropping chain is, by the other chains of its table.
func firewallFinding(where, table string, chains []string, lets bool) audit.Finding {
	f := audit.Finding{What: "firewall", Found: where + " drops forwarded packets", Hint: "accept there what comes from and goes to interfaces gantry*"}
	for _, a := range advice {
		if a.table == table || a.chain != "" && slices.Contains(chains, a.chain) {
			f.Found, f.Hint = a.name+": "+f.Found, a.hint
			break
		}
	}
	if lets {
		f.OK, f.Hint = true, ""
		f.Found += ", but accepts those of interfaces gantry*"
	}
	return f
}

// legacyFirewalls asks iptables-legacy, if the kernel has its tables at all: asking would make them.
func legacyFirewalls() []audit.Finding {
	var found []audit.Finding
	for _, family := range []struct{ names, program, title string }{
		{"/proc/net/ip_tables_names", "iptables-legacy", "IPv4"}, {"/proc/net/ip6_tables_names", "ip6tables-legacy", "IPv6"},
	} {
		names, err := os.ReadFile(family.names)
		if err != nil || !slices.Contains(strings.Fields(string(names)), "filter") {
			continue
		}
		out, err := exec.Command(family.program, "-S").Output()
		if err != nil {
			found = append(found, audit.Finding{What: "firewall", OK: true, Found: fmt.Sprintf(
				"the kernel has tables of iptables-legacy for %s, and %s cannot list them: %v", family.title, family.program, err)})
			continue
		}
		text := string(out)
		if !strings.Contains(text, "-P FORWARD DROP") {
			continue
		}
		var chains []string
		for line := range strings.Lines(text) {
			if name, ok := strings.CutPrefix(strings.TrimSpace(line), "-N "); ok {
				chains = append(chains, name)
			}
		}
		lets := strings.Contains(text, "-i gantry+ -j ACCEPT") && strings.Contains(text, "-o gantry+ -j ACCEPT")
		f := firewallFinding(fmt.Sprintf("chain FORWARD of %s (%s)", family.program, family.title), "", chains, lets)
		f.Hint = strings.ReplaceAll(f.Hint, "iptables ", family.program+" ")
		found = append(found, f)
	}
	return found
}

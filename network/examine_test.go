package network

import (
	"context"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/gantryrun/gantry/network/audit"
	"github.com/gantryrun/gantry/network/netlab"
	"github.com/gantryrun/gantry/network/rules"
)

func examine(t *testing.T, h *Host, repair bool, live ...*pod) audit.Report {
	t.Helper()
	attached, err := h.Register()
	if err != nil {
		t.Fatal(err)
	}
	e := &Examination{Host: h, Repair: repair}
	if err := e.Look(attached); err != nil {
		t.Fatal(err)
	}
	for _, a := range attached {
		netns := ""
		for _, p := range live {
			if p.PodID == a.PodID {
				netns = a.NetNS
			}
		}
		e.Check(t.Context(), a.Attachment, netns)
	}
	if err := e.Leftovers(); err != nil {
		t.Fatal(err)
	}
	return e.Report
}

// wrong gives what is not as it should be, a line each.
func wrong(r audit.Report) string {
	var out []string
	for _, f := range r.Findings {
		if !f.OK {
			out = append(out, strings.TrimSpace(f.Pod+" "+f.What+": "+f.Found))
		}
	}
	return strings.Join(out, "\n")
}

func TestExamination(t *testing.T) {
	sh := func(command string) func(*testing.T, *Host, *pod) {
		return func(t *testing.T, h *Host, p *pod) {
			t.Helper()
			c := exec.Command("sh", "-ec", command)
			c.Env = append(os.Environ(), "LINK="+p.res.HostIfName, "LEASES="+filepath.Join(h.RunDir, "leases/default"), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
			if out, err := c.CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", command, err, out)
			}
		}
	}
	tests := map[string]struct {
		spoil  func(t *testing.T, h *Host, p *pod)
		want   string // a part of what is wrong
		beyond string // what is still wrong after the repair
	}{
		"nothing is wrong":              {func(*testing.T, *Host, *pod) {}, "", ""},
		"the ruleset is flushed":        {sh("nft flush ruleset"), "rules: the table is not there", ""},
		"a chain is flushed":            {sh("nft flush chain inet gantry forward"), "rules: the rules of the chain forward are not gantry's", ""},
		"a port is withdrawn":           {sh("nft flush map inet gantry forwards_any4"), "pod-a attachment: check network \"default\": published port 8080 is not there", ""},
		"the network's element is gone": {sh("nft flush set inet gantry networks"), "the network's own traffic is not there", ""},
		"the host no longer forwards":   {sh("echo 0 >/proc/sys/net/ipv4/ip_forward"), "net.ipv4.ip_forward is \"0\"", ""},
		"nor IPv6":                      {sh("echo 0 >/proc/sys/net/ipv6/conf/all/forwarding"), "net.ipv6.conf.all.forwarding is \"0\"", ""},
		"route_localnet is off":         {sh("echo 0 >/proc/sys/net/ipv4/conf/$LINK/route_localnet"), "127.0.0.1 does not lead to the pod", ""},
		"the route is gone":             {sh("ip route del 172.16.28.2"), "the host's route to 172.16.28.2 does not lead to", ""},
		"another route is nearer":       {sh("ip route replace 172.16.28.2 dev lo"), "the host's route to 172.16.28.2 does not lead to", ""},
		"the lease is gone":             {sh("rm $LEASES/172.16.28.2"), "the lease of 172.16.28.2 is not the pod's", ""},
		"the link is down":              {sh("ip link set $LINK down"), "is down", ""},
		"the link is in another group":  {sh("ip link set $LINK group 5"), "is in another group of links", ""},
		"the link is gone":              {sh("ip link del $LINK"), "is not there: the pod has to be started again", "is not there: the pod has to be started again"},
		"the pod took its address away": {func(_ *testing.T, _ *Host, p *pod) { p.Run("ip", "addr", "flush", "dev", "eth0") }, "the pod's eth0 has lost its address", "the pod's eth0 has lost its address"},
		"the pod's end has another name": {func(_ *testing.T, _ *Host, p *pod) {
			p.Run("sh", "-ec", "ip link set eth0 down; ip link set eth0 name lan0; ip link set lan0 up")
		}, "the pod has no eth0 any more", "the pod has no eth0 any more"},
		"the gateway's address is gone":  {sh("ip addr del fd67:616e:7472:79::1/128 dev lo"), "the host has lost the gateway's address", ""},
		"the pod is no neighbour":        {sh("ip -6 neigh flush dev $LINK nud permanent"), "the host does not know where", ""},
		"the lease is somebody else's":   {sh("printf 'pod-z\\r\\neth0' >$LEASES/172.16.28.2"), "the lease of 172.16.28.2 is not the pod's", "address is leased to pod pod-z"},
		"a port that belongs to no pod":  {foreignPort, "leftovers: published ports of pod pod-z", "leftovers: published ports of pod pod-z"},
		"an interface of no pod":         {sh("ip link add gantrymzzzzzzzz type veth peer name zz"), "leftovers: the interface gantrymzzzzzzzz", ""},
		"a lease of a killed attachment": {sh("mkdir -p $LEASES/../.index/default; ln -s 172.16.28.9 $LEASES/../.index/default/pod-z-eth0"), "leftovers: leases of pod-z-eth0 in network default", "leases of pod-z-eth0"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			h := lab(t)
			p := start(t, h, attachment(t, "pod-a", "default", "8080:80"))
			test.spoil(t, h, p)
			if got := wrong(examine(t, h, false, p)); !strings.Contains(got, test.want) || (got == "") != (test.want == "") {
				t.Errorf("found %q, want %q", got, test.want)
			}
			hints(t, examine(t, h, false, p))
			if got := wrong(examine(t, h, true, p)); !strings.Contains(got, test.beyond) || (got == "") != (test.beyond == "") {
				t.Errorf("after repair %q, want %q", got, test.beyond)
			}
			if test.beyond == "" {
				serve(t, p, ":80")
				reaches(t, onHost{}, "127.0.0.1:8080", p.res.IPs[0].Gateway.String())
				reaches(t, onHost{}, hostPort(p.ip6(), 80), p.res.IPs[1].Gateway.String())
			}
			tidy(t, h)
		})
	}
}

// hints checks that what only a new pod can bring back is not said to be repaired.
func hints(t *testing.T, r audit.Report) {
	t.Helper()
	for _, f := range r.Findings {
		want := "gantry network check --repair"
		if strings.Contains(f.Found, errStartAgain.Error()) {
			want = "start the pod again"
		}
		if !f.OK && (f.What == "attachment" || f.What == "rules") && f.Hint != want {
			t.Errorf("%s: the hint is %q, want %q", f.Found, f.Hint, want)
		}
	}
}

func foreignPort(t *testing.T, _ *Host, _ *pod) {
	t.Helper()
	f, err := portElements([]portMapping{{HostPort: 9090, ContainerPort: 80, Protocol: "tcp"}}, []netip.Addr{netip.MustParseAddr("172.16.28.99")})
	if err != nil {
		t.Fatal(err)
	}
	f.Owner = "pod-z"
	if err := rules.Add(f); err != nil {
		t.Fatal(err)
	}
}

// tidy removes what the tests above have put there in the name of no pod.
func tidy(t *testing.T, h *Host) {
	t.Helper()
	if l, err := netlink.LinkByName("gantrymzzzzzzzz"); err == nil {
		if err := netlink.LinkDel(l); err != nil {
			t.Error(err)
		}
	}
	_ = os.Remove(filepath.Join(h.RunDir, "leases/.index/default/pod-z-eth0"))
	if err := os.WriteFile(filepath.Join(h.RunDir, "leases/default/172.16.28.2"), []byte("pod-a\r\neth0"), 0o600); err != nil {
		t.Error(err)
	}
	if f, err := portElements([]portMapping{{HostPort: 9090, ContainerPort: 80, Protocol: "tcp"}}, []netip.Addr{netip.MustParseAddr("172.16.28.99")}); err == nil {
		if err := rules.Remove(f); err != nil {
			t.Error(err)
		}
	}
}

// A firewall of somebody else's is named, and what is said to do about it lets pods through.
func TestForeignFirewalls(t *testing.T) {
	tests := map[string]struct {
		make, want, cure string
	}{
		"none":                 {"", "no other firewall", ""},
		"Docker":               {"iptables-nft -N DOCKER-USER; iptables-nft -A FORWARD -j DOCKER-USER; iptables-nft -P FORWARD DROP", "Docker: chain FORWARD of table ip filter drops", "iptables-nft -I DOCKER-USER -i gantry+ -j ACCEPT; iptables-nft -I DOCKER-USER -o gantry+ -j ACCEPT"},
		"ufw":                  {"iptables-nft -N ufw-before-forward; iptables-nft -A FORWARD -j ufw-before-forward; iptables-nft -P FORWARD DROP", "ufw: chain FORWARD of table ip filter drops", "iptables-nft -A ufw-before-forward -s 172.16.0.0/17 -j ACCEPT; iptables-nft -A ufw-before-forward -d 172.16.0.0/17 -j ACCEPT"},
		"firewalld":            {"nft add table inet firewalld; nft add chain inet firewalld filter_FORWARD '{ type filter hook forward priority 10; policy accept; }'; nft add rule inet firewalld filter_FORWARD ct state established accept; nft add rule inet firewalld filter_FORWARD reject with icmpx admin-prohibited", "firewalld: chain filter_FORWARD of table inet firewalld drops", "nft insert rule inet firewalld filter_FORWARD ip saddr 172.16.0.0/17 accept"},
		"somebody's":           {"nft add table inet mine; nft add chain inet mine passing '{ type filter hook forward priority 0; policy drop; }'", "chain passing of table inet mine drops", "nft add rule inet mine passing iifname 'gantry*' accept; nft add rule inet mine passing oifname 'gantry*' accept"},
		"iptables-legacy":      {"iptables-legacy -P FORWARD DROP", "chain FORWARD of iptables-legacy (IPv4) drops", "iptables-legacy -I FORWARD -i gantry+ -j ACCEPT; iptables-legacy -I FORWARD -o gantry+ -j ACCEPT"},
		"one that lets us":     {"iptables-nft -P FORWARD DROP; iptables-nft -A FORWARD -i gantry+ -j ACCEPT; iptables-nft -A FORWARD -o gantry+ -j ACCEPT", "but accepts those of interfaces gantry*", ""},
		"one that lets others": {"iptables-nft -A FORWARD -i docker0 -j ACCEPT", "no other firewall", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			h := lab(t)
			out := netlab.NewOutside(t, "uplink0")
			serve(t, out, ":80")
			sh := func(command string) {
				if b, err := exec.CommandContext(context.Background(), "sh", "-ec", command).CombinedOutput(); err != nil {
					t.Fatalf("%s: %v\n%s", command, err, b)
				}
			}
			t.Cleanup(func() {
				sh("nft flush ruleset; iptables-legacy -P FORWARD ACCEPT; iptables-legacy -F FORWARD")
			})
			p := start(t, h, attachment(t, "pod-a", "default"))
			sh(test.make)
			var found []string
			drops := false
			for _, f := range examine(t, h, false, p).Findings {
				if f.What == "firewall" {
					found = append(found, f.Found)
					drops = drops || !f.OK
				}
			}
			if len(found) != 1 || !strings.Contains(found[0], test.want) {
				t.Errorf("found %q, want %q", found, test.want)
			}
			if drops != (test.cure != "") {
				t.Errorf("drops: %v", drops)
			}
			if drops {
				blocked(t, p, hostPort(out.IP4, 80))
				sh(test.cure)
			}
			reaches(t, p, hostPort(out.IP4, 80), out.Host4.String())
		})
	}
}

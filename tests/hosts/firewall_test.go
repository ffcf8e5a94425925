package hosts_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/gantryrun/gantry/network/audit"
	"github.com/gantryrun/gantry/tests/await"
	"github.com/gantryrun/gantry/tests/build"
	"github.com/gantryrun/gantry/tests/hosts"
)

// The firewalls that Debian has, as their own programs set them up: `network check` names the one that drops what pods send, what it says to do
// is a cure that it sees, and nothing that the firewall does afterwards takes anything of gantry's away.
func TestFirewalls(t *testing.T) {
	const web = "gantry run --detach --pod-name=web --port=8080:80/tcp " + busybox + " -- httpd -f -p 80 -h /etc"
	for name, test := range map[string]struct {
		start, reload, restart, stop string
		drops                        string // how check names the chain
		published                    bool   // it lets through what was sent to a published port, as firewalld says of itself
	}{
		"ufw": {
			"ufw allow 22/tcp; ufw --force enable", "ufw reload", "systemctl restart ufw", "ufw disable",
			"ufw: chain FORWARD of table ip filter drops", false,
		},
		"firewalld": {
			"systemctl start firewalld", "firewall-cmd --reload; firewall-cmd --complete-reload", "systemctl restart firewalld", "systemctl stop firewalld",
			"firewalld: chain filter_FORWARD of table inet firewalld drops", true,
		},
		"Docker": { // drops only where it finds a host that does not forward
			"gantry stop web; echo 0 >/proc/sys/net/ipv4/ip_forward; systemctl start docker; gantry rm web; " + web, "systemctl reload docker",
			"systemctl restart docker", "iptables -P FORWARD ACCEPT; systemctl stop docker docker.socket",
			"Docker: chain FORWARD of table ip filter drops", false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := ownHost(t)
			m.neighbour(t)
			m.sh(t, web)
			m.passes(t, "web", 8080)
			if got := m.firewalls(t); len(got) != 1 || !got[0].OK {
				t.Errorf("before: %v", got)
			}

			m.sh(t, test.start)
			await.Until(t, "the firewall to drop what pods send", func() bool { return !m.lets(t, out("web")) })
			if test.published {
				m.answers(t, in(8080))
			} else if m.lets(t, in(8080)) {
				t.Error("the published port is reached")
			}
			// No answer may have been one that came late: the firewall itself may come now.
			await.Success(t, "check to name it", func() error {
				if code, stdout, _ := m.run(t, "gantry", "network", "check", "--repair"); code != 254 || !strings.Contains(stdout, test.drops) {
					return fmt.Errorf("exit code %d\n%s", code, stdout)
				}
				return nil
			})
			for _, f := range m.firewalls(t) {
				if f.OK || !strings.HasPrefix(f.Found, name+": ") || f.Hint == "" {
					t.Fatalf("check: %+v", f)
				}
				m.sh(t, f.Hint)
			}

			cured := func(what string) {
				t.Helper()
				m.passes(t, "web", 8080)
				if code, stdout, _ := m.run(t, "gantry", "network", "check"); code != 0 {
					t.Errorf("%s: exit code %d\n%s", what, code, stdout)
				}
			}
			cured("with the cure")
			m.sh(t, test.reload)
			cured("after the reload")
			m.sh(t, test.restart)
			cured("after the restart")
			m.sh(t, "gantry run --detach --pod-name=late --port=8081:80/tcp "+busybox+" -- httpd -f -p 80 -h /etc")
			m.passes(t, "late", 8081)

			m.sh(t, "nft flush ruleset; "+test.restart)
			if code, stdout, _ := m.run(t, "gantry", "network", "check", "--repair"); code != 0 {
				t.Errorf("repair after the flush: exit code %d\n%s", code, stdout)
			}
			cured("after the flush")
			m.passes(t, "late", 8081)
			m.sh(t, test.stop)
			cured("after its end")
			m.must(t, "gantry", "rm", "--force", "web", "late")
		})
	}
}

// Debian's nftables.service flushes everybody's rules at each restart and reload. With gantry-network.service, the pods have theirs back.
func TestNftablesService(t *testing.T) {
	m := ownHost(t)
	m.neighbour(t)
	m.put(t, "packaging/systemd/gantry-network.service", "/etc/systemd/system/gantry-network.service")
	m.sh(t, "systemctl daemon-reload; systemctl enable gantry-network; systemctl start nftables")
	m.sh(t, "gantry run --detach --pod-name=web --port=8080:80/tcp "+busybox+" -- httpd -f -p 80 -h /etc")
	for _, how := range []string{"restart", "reload", "reload"} {
		m.passes(t, "web", 8080)
		m.sh(t, "nft add table inet probe; systemctl "+how+" nftables")
		await.Until(t, "the flush by "+how, func() bool { return !m.lets(t, "nft list table inet probe") })
	}
	m.passes(t, "web", 8080)
	await.Until(t, "all to be well", func() bool { return m.lets(t, "gantry network check") })
	if s := m.show(t, "gantry-network.service", "Result"); s != "success" {
		t.Errorf("the service: %s\n%s", s, m.journal(t, "gantry-network.service"))
	}
	m.must(t, "gantry", "rm", "--force", "web")
}

// ownHost is a host for one test, which may do with it what it likes.
func ownHost(t *testing.T) machine {
	t.Helper()
	boot(t) // skips where there is no tree
	dir, err := os.MkdirTemp("", "gantry-own-")
	if err != nil {
		t.Fatal(err)
	}
	h, err := hosts.Boot(t.Context(), hosts.Options{Bin: build.Dir(t), State: dir})
	if err != nil {
		t.Fatal(err)
	}
	m := machine{h}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
		_ = os.RemoveAll(dir)
	})
	if err := writeBusybox(filepath.Join(h.Share, "busybox.tar")); err != nil {
		t.Fatal(err)
	}
	m.must(t, "gantry", "fetch", "--quiet", busybox)
	return m
}

// neighbour is another machine on the host's cable, with a server: 192.0.2.2, where the host is 192.0.2.1.
func (m machine) neighbour(t *testing.T) {
	t.Helper()
	m.sh(t, `ip netns add lan
ip link add uplink type veth peer name eth0 netns lan
ip addr add 192.0.2.1/24 dev uplink; ip link set uplink up
ip -n lan addr add 192.0.2.2/24 dev eth0; ip -n lan link set eth0 up
mkdir -p /srv; echo neighbour >/srv/index.html
ip netns exec lan busybox httpd -p 80 -h /srv`)
}

// in asks a published port from the neighbour, out asks the neighbour from a pod; what is dropped is not waited for longer than this. (The
// option -T of Debian's static wget crashes it.)
func in(port int) string {
	return "ip netns exec lan busybox timeout 3 busybox wget -q -O /dev/null http://192.0.2.1:" + strconv.Itoa(port) + "/passwd"
}

func out(pod string) string {
	return "gantry enter " + pod + " timeout 3 wget -q -O /dev/null http://192.0.2.2/"
}

// lets says whether an answer comes.
func (m machine) lets(t *testing.T, ask string) bool {
	t.Helper()
	code, _, _ := m.run(t, "sh", "-euc", ask)
	return code == 0
}

// passes waits until there are answers both ways.
func (m machine) passes(t *testing.T, pod string, port int) {
	t.Helper()
	m.answers(t, in(port))
	m.answers(t, out(pod))
}

func (m machine) answers(t *testing.T, ask string) {
	t.Helper()
	await.Success(t, "an answer to "+ask, func() error {
		if code, _, stderr := m.run(t, "sh", "-euc", ask); code != 0 {
			return errors.New(stderr)
		}
		return nil
	})
}

// firewalls is what check says of them.
func (m machine) firewalls(t *testing.T) []audit.Finding {
	t.Helper()
	_, stdout, stderr := m.run(t, "gantry", "network", "check", "--format=json")
	var report audit.Report
	if err := json.Unmarshal([]byte(stdout), &report); err != nil {
		t.Fatalf("%v: %s%s", err, stdout, stderr)
	}
	var found []audit.Finding
	for _, f := range report.Findings {
		if f.What == "firewall" {
			found = append(found, f)
		}
	}
	return found
}

// A container of Docker's and a pod, each with a published port: both are reached, from outside and by each other, and nothing that gantry does
// changes a rule of Docker's.
func TestDockerBeside(t *testing.T) {
	m := ownHost(t)
	m.neighbour(t)
	m.sh(t, "gantry run --detach --pod-name=web --port=8080:80/tcp "+busybox+" -- httpd -f -p 80 -h /etc")
	m.sh(t, "systemctl start docker; tar -C / -c bin/busybox etc/passwd | docker import - bb")
	m.sh(t, "docker run --detach --name=theirs --publish=8090:80 bb /bin/busybox httpd -f -p 80 -h /etc")
	answers := func() {
		t.Helper()
		for _, ask := range []string{
			in(8080), in(8090), out("web"), "gantry enter web timeout 3 wget -q -O /dev/null http://192.0.2.1:8090/passwd",
			"docker exec theirs /bin/busybox timeout 3 /bin/busybox wget -q -O /dev/null http://192.0.2.1:8080/passwd",
		} {
			await.Success(t, "an answer to "+ask, func() error {
				if code, _, stderr := m.run(t, "sh", "-euc", ask); code != 0 {
					return errors.New(stderr)
				}
				return nil
			})
		}
	}
	answers()
	saved := func() string {
		return m.sh(t, `for save in iptables-save ip6tables-save; do $save | grep -v '^#' | sed 's/\[.*//'; done`) // without times and counters
	}
	rules := saved()
	if !strings.Contains(rules, "--dport 8090 -j DNAT") {
		t.Fatalf("Docker has no rule for its port:\n%s", rules)
	}
	unchanged := func(what string) {
		t.Helper()
		if now := saved(); now != rules {
			t.Errorf("%s: Docker's rules were\n%s\nand are\n%s", what, rules, now)
		}
	}
	m.sh(t, "gantry gc --grace-period=0s; gantry network check --repair")
	unchanged("gc and repair")
	m.sh(t, "kill -KILL $(gantry status web | sed -n s/^pid=//p); gantry gc --grace-period=0s")
	unchanged("the pod's end")
	m.sh(t, "gantry run --detach --pod-name=web --port=8080:80/tcp "+busybox+" -- httpd -f -p 80 -h /etc")
	unchanged("another pod")
	answers()
	if code, _, stderr := m.run(t, "gantry", "run", "--rm", "--port=8090:80/tcp", busybox, "--", "true"); code != 254 || !strings.Contains(stderr, "listens on") {
		t.Errorf("a pod with the container's port: exit code %d: %s", code, stderr)
	}
	m.sh(t, "docker rm --force theirs; gantry rm --force web; systemctl stop docker docker.socket")
}

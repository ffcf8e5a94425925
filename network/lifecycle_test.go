package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/gantryrun/gantry/network/conf"
	"github.com/gantryrun/gantry/network/netlab"
	"github.com/gantryrun/gantry/network/rules"
	"github.com/gantryrun/gantry/tests/await"
)

func TestDetach(t *testing.T) {
	tests := map[string]func(t *testing.T, h *Host, p *pod){
		"while the namespace is there": func(t *testing.T, h *Host, p *pod) {
			detach(t, h, p, p.Path())
			p.Close()
		},
		"after the namespace has gone": func(t *testing.T, h *Host, p *pod) {
			p.Close()
			detach(t, h, p, "")
		},
		"without the namespace, which somebody still holds": func(t *testing.T, h *Host, p *pod) {
			detach(t, h, p, "")
			if l, err := netlink.LinkByName(p.res.HostIfName); err == nil {
				t.Errorf("link %s is left", l.Attrs().Name)
			}
		},
		"with a path that leads nowhere": func(t *testing.T, h *Host, p *pod) {
			p.Close()
			detach(t, h, p, "/proc/1/fd/99999")
		},
		"without what libcni remembers": func(t *testing.T, h *Host, p *pod) {
			if err := os.RemoveAll(filepath.Join(h.RunDir, "cni")); err != nil {
				t.Fatal(err)
			}
			detach(t, h, p, "")
		},
		"without the rules": func(t *testing.T, h *Host, p *pod) {
			if err := rules.Reset(); err != nil {
				t.Fatal(err)
			}
			detach(t, h, p, "")
		},
		"after a reboot": func(t *testing.T, h *Host, p *pod) {
			p.Close()
			if err := rules.Reset(); err != nil {
				t.Fatal(err)
			}
			if err := os.RemoveAll(h.RunDir); err != nil {
				t.Fatal(err)
			}
			lo, err := netlink.LinkByName("lo")
			if err != nil {
				t.Fatal(err)
			}
			gw := newAddr(hostPrefix(p.res.IPs[1].Gateway), 0)
			if err := netlink.AddrDel(lo, gw); err != nil {
				t.Fatal(err)
			}
			detach(t, h, p, "")
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			h := lab(t)
			p := start(t, h, attachment(t, "pod-a", "default", "8080:80", "127.0.0.1:53:53/udp"))
			test(t, h, p)
			for range 2 { // and again, as gc does
				detach(t, h, p, "")
			}
			other := start(t, h, attachment(t, "pod-b", "default"))
			serve(t, other, ":80")
			reaches(t, onHost{}, hostPort(other.ip4(), 80), other.res.IPs[0].Gateway.String())
		})
	}
}

func detach(t testing.TB, h *Host, p *pod, netns string) {
	t.Helper()
	leave(t, h, p.Attachment, netns)
}

// leave is detach for an attachment alone. It may come in a clean-up: the test's own context is over by then.
func leave(t testing.TB, h *Host, a Attachment, netns string) {
	t.Helper()
	if err := h.Detach(context.Background(), a, netns); err != nil {
		t.Error(err)
	}
}

func TestDetachOfWhatNeverWas(t *testing.T) {
	h := lab(t)
	if err := h.Detach(t.Context(), attachment(t, "pod-a", "default", "8080:80"), ""); err != nil {
		t.Error(err)
	}
}

func TestAttachThatFailsLeavesNothing(t *testing.T) {
	tests := map[string]struct {
		prepare func(t *testing.T, p *netlab.Namespace)
		edit    func(conflist string) string
		want    string
		left    bool // DEL fails too
	}{
		"the interface is there already": {
			prepare: func(_ *testing.T, p *netlab.Namespace) { p.Run("ip", "link", "add", "eth0", "type", "bridge") },
			want:    "make veth pair",
		},
		"a later plugin is missing": {
			edit: func(c string) string { return strings.Replace(c, `"gantry-portmap"`, `"no-such-plugin"`, 1) },
			want: `plugin "no-such-plugin" is not in []`,
			left: true,
		},
		"a route that cannot be": {
			edit: func(c string) string {
				return strings.Replace(c, `{"dst": "::/0"}`, `{"dst": "::/0"}, {"dst": "10.0.0.0/8", "gw": "203.0.113.1"}`, 1)
			},
			want: "add route to 10.0.0.0/8",
		},
		"an address that is nowhere": {
			edit: func(c string) string { return strings.Replace(c, `"ipam": {`, `"ipam": {"x": 1, `, 1) },
			want: "in no range",
		},
		"a number that is none": {
			edit: func(c string) string { return strings.Replace(c, `"ipMasq"`, `"mtu": "1400", "ipMasq"`, 1) },
			want: "read configuration: ",
		},
		"a subnet that is none": {
			edit: func(c string) string { return strings.Replace(c, `"172.16.0.0/18"`, `"172.16.0.0"`, 1) },
			want: "read configuration: ",
		},
		"no IPAM": {
			edit: func(c string) string { return strings.Replace(c, `"ipam"`, `"imap"`, 1) },
			want: "no ipam in it",
		},
		"an interface too narrow for IPv6": {
			edit: func(c string) string { return strings.Replace(c, `"ipMasq"`, `"mtu": 1279, "ipMasq"`, 1) },
			want: "mtu 1279: want 1280 to 65535",
		},
		"a negative one": {
			edit: func(c string) string { return strings.Replace(c, `"ipMasq"`, `"mtu": -1, "ipMasq"`, 1) },
			want: "mtu -1: ",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			h := lab(t)
			p := netlab.New(t)
			net := "default"
			if test.want == "in no range" {
				net = "default:IP=10.9.9.9"
			}
			a := attachment(t, "pod-a", net, "8080:80")
			if test.edit != nil {
				a.Conflist = []byte(test.edit(spaced(string(a.Conflist))))
			}
			if test.prepare != nil {
				test.prepare(t, p)
			}
			_, err := h.Attach(t.Context(), a, p.Path())
			if err == nil || !strings.Contains(err.Error(), test.want) || errors.Is(err, ErrLeft) != test.left {
				t.Errorf("attach: %v, want %q", err, test.want)
			}
			if err := h.Detach(t.Context(), a, ""); (err != nil) != test.left { // as gc does
				t.Error(err)
			}
			if test.left { // as long as the pod's removal is not over, what it has to know is kept
				h.Skip = []string{"no-such-plugin"}
				if err := h.Detach(t.Context(), a, ""); err != nil {
					t.Error(err)
				}
			}
			// The deferred leak check sees the rest; the link must be gone at once.
			links, err := whole(netlink.LinkList)
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range links {
				if strings.HasPrefix(l.Attrs().Name, rules.LinkPrefix) {
					t.Errorf("link %s is left", l.Attrs().Name)
				}
			}
		})
	}
}

// spaced puts a space after each colon, as the file that a conflist was frozen from has.
func spaced(s string) string { return regexp.MustCompile(`":([^/:])`).ReplaceAllString(s, `": $1`) }

func TestAttachIsCancelled(t *testing.T) {
	h := lab(t)
	p := netlab.New(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.Attach(ctx, attachment(t, "pod-a", "default"), p.Path()); err == nil {
		t.Error("attach with a cancelled context succeeds")
	}
}

func TestManyAttachAtOnce(t *testing.T) {
	h := lab(t)
	const n = 50
	var wg sync.WaitGroup
	pods := make([]*pod, n)
	for i := range n {
		a := attachment(t, fmt.Sprintf("pod-%d", i), "default", fmt.Sprintf("%d:80", 8000+i))
		wg.Go(func() {
			p := &pod{Namespace: netlab.New(t), Attachment: a}
			var err error
			if p.res, err = h.Attach(t.Context(), a, p.Path()); err != nil {
				t.Error(err)
			}
			pods[i] = p
		})
	}
	wg.Wait()
	seen := map[netip.Addr]string{}
	for _, p := range pods {
		for _, ip := range p.res.IPs {
			if other := seen[ip.Address.Addr()]; other != "" {
				t.Errorf("%s has the address %s of %s", p.PodID, ip.Address, other)
			}
			seen[ip.Address.Addr()] = p.PodID
		}
	}
	if len(seen) != 2*n {
		t.Errorf("%d addresses, want %d", len(seen), 2*n)
	}
	serve(t, pods[n-1], ":80")
	reaches(t, pods[0], hostPort(pods[n-1].res.IPs[0].Gateway, 8000+n-1), pods[0].ip4().String())
	for _, p := range pods {
		wg.Go(func() { detach(t, h, p, p.Path()); p.Close() })
	}
	wg.Wait()
}

func TestStaticAddress(t *testing.T) {
	h := lab(t)
	a := start(t, h, attachment(t, "pod-a", "default:IP=172.16.30.7;IP=fd67:616e:7472:79::77"))
	if got := fmt.Sprint(a.ip4(), a.ip6()); got != "172.16.30.7 fd67:616e:7472:79::77" {
		t.Errorf("addresses %s", got)
	}
	b := attachment(t, "pod-b", "default:IP=172.16.30.7")
	ns := netlab.New(t)
	if _, err := h.Attach(t.Context(), b, ns.Path()); err == nil || !strings.Contains(err.Error(), "pod-a") {
		t.Errorf("attach with the address of pod-a: %v", err)
	}
	serve(t, a, ":80")
	reaches(t, onHost{}, hostPort(a.ip4(), 80), "172.16.28.1")
	// Restarted: the new pod has the address at once, though the old link is still there.
	detach(t, h, a, a.Path())
	c := start(t, h, Attachment{PodID: "pod-c", Network: b.Network, IfName: b.IfName, Args: b.Args, Conflist: b.Conflist})
	serve(t, c, ":80")
	reaches(t, onHost{}, hostPort(c.ip4(), 80), "172.16.28.1")
}

func TestTwoNetworks(t *testing.T) {
	h := lab(t)
	sel, err := conf.ParseNet([]string{"default,default-restricted"})
	if err != nil {
		t.Fatal(err)
	}
	nets, err := conf.Source{}.Freeze(sel, nil)
	if err != nil {
		t.Fatal(err)
	}
	ns := netlab.New(t)
	for i, n := range nets {
		a := Attachment{PodID: "pod-a", Network: n.Name, IfName: n.IfName, Conflist: n.Conflist}
		res, err := h.Attach(t.Context(), a, ns.Path())
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("eth%d", i); res.IfName != want || res.MAC == "" {
			t.Errorf("result %+v, want interface %s", res, want)
		}
		t.Cleanup(func() {
			leave(t, h, a, "")
		})
	}
}

func TestPluginThatHangsIsKilled(t *testing.T) {
	h := lab(t)
	dir := t.TempDir()
	pidFile := filepath.Join(dir, "pid")
	script := "#!/bin/sh\n[ $CNI_COMMAND = ADD ] || exit 0\nsleep 1000 &\necho $! > " + pidFile + "\nwait\n"
	if err := os.WriteFile(filepath.Join(dir, "hangs"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	h.PluginDirs, h.Timeout = []string{dir}, 3*time.Second
	a := Attachment{PodID: "pod-a", Network: "n", IfName: "eth0", Conflist: []byte(
		`{"cniVersion": "1.0.0", "name": "n", "plugins": [{"type": "hangs"}]}`)}
	begin := time.Now()
	_, err := h.Attach(t.Context(), a, netlab.New(t).Path())
	if err == nil || !strings.Contains(err.Error(), "killed after 3s") {
		t.Errorf("attach: %v", err)
	}
	if took := time.Since(begin); took > patience {
		t.Errorf("took %s", took)
	}
	pid, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	await.Success(t, "the plugin's child to die", func() error {
		stat, err := os.ReadFile("/proc/" + strings.TrimSpace(string(pid)) + "/stat")
		if err == nil && !strings.Contains(string(stat), ") Z ") {
			return fmt.Errorf("it lives: %s", stat)
		}
		return nil
	})
}

func TestPluginThatPrintsNonsense(t *testing.T) {
	tests := map[string]struct{ script, want string }{
		"not JSON":             {"echo hello", "invalid character"},
		"null":                 {"echo null", ""},
		"nothing":              {"true", "unexpected end of JSON"},
		"lines of resolv.conf": {`[ $CNI_COMMAND = ADD ] && echo '{"cniVersion": "1.0.0", "dns": {"search": ["a\\nnameserver 192.0.2.66"]}}'; true`, "a line of its own in resolv.conf"},
		"endless":              {"[ $CNI_COMMAND = ADD ] && exec yes; true", "printed more than"},
		"error object":         {`[ $CNI_COMMAND = ADD ] || exit 0; echo '{"code": 11, "msg": "no more", "details": "try later"}'; exit 1`, "no more; try later"},
		"stderr only":          {"[ $CNI_COMMAND = ADD ] || exit 0; echo oops >&2; exit 3", `exit status 3: "oops"`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			h := lab(t)
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "odd"), []byte("#!/bin/sh\n"+test.script+"\n"), 0o755); err != nil {
				t.Fatal(err)
			}
			h.PluginDirs, h.Timeout = []string{dir}, patience
			a := Attachment{PodID: "pod-a", Network: "n", IfName: "eth0", Conflist: []byte(
				`{"cniVersion": "1.0.0", "name": "n", "plugins": [{"type": "odd"}]}`)}
			_, err := h.Attach(t.Context(), a, netlab.New(t).Path())
			switch {
			case test.want == "" && err != nil:
				t.Error(err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("attach: %v, want %q", err, test.want)
			}
			if err := h.Detach(t.Context(), a, ""); err != nil {
				t.Error(err)
			}
		})
	}
}

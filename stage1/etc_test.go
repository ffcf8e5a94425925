package stage1

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gantryrun/gantry/pods"
)

func TestResolvFile(t *testing.T) {
	asked := pods.DNS{Servers: []string{"192.0.2.1", "192.0.2.2"}, Search: []string{"a.example"}, Options: []string{"ndots:2"}, Domain: "example"}
	net := pods.DNS{Servers: []string{"192.0.2.9"}}
	for _, c := range []struct {
		name     string
		dns, net pods.DNS
		image    bool
		want     string
		from     int
	}{
		{"asked for wins", asked, net, true, "domain example\nsearch a.example\nnameserver 192.0.2.1\nnameserver 192.0.2.2\noptions ndots:2\n", resolvAsked},
		{"then the network", pods.DNS{}, net, true, "nameserver 192.0.2.9\n", resolvAsked},
		{"then the image", pods.DNS{}, pods.DNS{}, true, "", resolvImage},
		{"then the host", pods.DNS{}, pods.DNS{}, false, hostResolv(), resolvFallback},
		{"none", pods.DNS{Mode: "none"}, net, false, "", resolvImage},
		{"host", pods.DNS{Mode: "host"}, net, true, hostResolv(), resolvAsked},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, from := resolvFile(&pods.Manifest{DNS: c.dns}, c.net, c.image)
			if got != c.want || from != c.from {
				t.Errorf("got %q, %v; want %q, %v", got, from, c.want, c.from)
			}
		})
	}
}

func TestHostsFile(t *testing.T) {
	m := &pods.Manifest{Hostname: "h1", Name: "web", Net: pods.NetCNI, Hosts: []pods.HostsEntry{{IP: "192.0.2.7", Names: []string{"db", "db.example"}}}}
	net := &pods.Net{Interfaces: []pods.Interface{{IPs: []string{"172.16.28.2/24", "fd00::2/64"}}}}
	want := "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n172.16.28.2\th1 web\nfd00::2\th1 web\n192.0.2.7\tdb db.example\n"
	if diff := cmp.Diff(want, hostsFile(m, net)); diff != "" {
		t.Error(diff)
	}
	m.Net = pods.NetNone
	if got := hostsFile(m, nil); !strings.Contains(got, "127.0.1.1\th1 web\n") {
		t.Errorf("a pod without a network does not find itself: %q", got)
	}
}

// An image cannot make the supervisor look at, or write to, a file of the host.
func TestEtcFilesStayInTheImage(t *testing.T) {
	rootfs, run := t.TempDir(), t.TempDir()
	if err := os.Mkdir(filepath.Join(rootfs, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"hosts", "resolv.conf"} {
		if err := os.Symlink("/etc/passwd", filepath.Join(rootfs, "etc", name)); err != nil {
			t.Fatal(err)
		}
	}
	binds, _, err := etcFiles(&pods.Manifest{Hostname: "h"}, pods.DNS{}, run, rootfs)
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{"/etc/hosts", "/etc/resolv.conf", "/etc/hostname"} {
		if binds[target] != filepath.Join(run, filepath.Base(target)) {
			t.Errorf("%s is %q", target, binds[target])
		}
	}
}

func TestControllers(t *testing.T) {
	for in, want := range map[string]string{
		"rw,cpu,cpuacct":        "cpu,cpuacct",
		"rw,xattr,name=systemd": "name=systemd",
	} {
		if got := controllers(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

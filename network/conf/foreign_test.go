package conf

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// What lies in /etc/cni/net.d of real hosts: other runtimes' networks, and files that are none.

const podmanConflist = `{"cniVersion": "0.4.0", "name": "podman", "plugins": [
	{"type": "bridge", "bridge": "cni-podman0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
	 "ipam": {"type": "host-local", "routes": [{"dst": "0.0.0.0/0"}], "ranges": [[{"subnet": "10.88.0.0/16", "gateway": "10.88.0.1"}]]}},
	{"type": "portmap", "capabilities": {"portMappings": true}}, {"type": "firewall"}, {"type": "tuning"}]}`

const flannelConflist = `{"name": "cbr0", "cniVersion": "0.3.1", "plugins": [
	{"type": "flannel", "delegate": {"hairpinMode": true, "isDefaultGateway": true}},
	{"type": "portmap", "capabilities": {"portMappings": true}}]}`

const calicoConflist = `{"name": "k8s-pod-network", "cniVersion": "0.3.1", "plugins": [
	{"type": "calico", "log_level": "info", "datastore_type": "kubernetes", "nodename": "worker-1", "mtu": 0,
	 "ipam": {"type": "calico-ipam"}, "policy": {"type": "k8s"}, "kubernetes": {"kubeconfig": "/etc/cni/net.d/calico-kubeconfig"}},
	{"type": "portmap", "snat": true, "capabilities": {"portMappings": true}},
	{"type": "bandwidth", "capabilities": {"bandwidth": true}}]}`

func TestForeignNetworks(t *testing.T) {
	src, _ := tree(t, map[string]string{
		"etc/87-podman-bridge.conflist": podmanConflist, "etc/10-flannel.conflist": flannelConflist, "etc/10-calico.conflist": calicoConflist,
		"etc/calico-kubeconfig": "apiVersion: v1\nkind: Config\n",
		"bin/bridge":            "", "bin/host-local": "", "bin/portmap": "", "bin/firewall": "", "bin/tuning": "", "bin/bandwidth": "",
	})
	port, err := ParsePort("8080:80")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"podman":          "",
		"cbr0":            `network "cbr0" (`,
		"k8s-pod-network": `plugin "calico" is not in `,
	} {
		nets, err := src.Freeze(Selection{Networks: []Request{{Name: name}}}, []PortMapping{port})
		if (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
		if err == nil && len(nets[0].Ports) != 1 {
			t.Errorf("%s: the port is lost", name)
		}
	}
}

// A file that is none harms no other, and nobody waits for it.
func TestFilesThatAreNone(t *testing.T) {
	src, dir := tree(t, map[string]string{
		"etc/50-good.conflist":    podmanConflist,
		"etc/01-comment.conflist": "// the office's network\n" + podmanConflist,
		"etc/02-mark.conflist":    "\ufeff" + podmanConflist,
		"etc/03-twice.conflist":   podmanConflist + podmanConflist,
		"etc/04-empty.conf":       "",
		"etc/05-nul.conf":         "\x00\x00\x00",
		"etc/06-list.json":        "[]",
		"etc/07-large.conf":       `{"name": "large", "type": "x", "y": "` + strings.Repeat("x", maxFile) + `"}`,
		"etc/08-deep.conf":        strings.Repeat("[", 100000),
		"etc/09-unknown.conflist": `{"cniVersion": "1.0.0", "name": "unknown", "colour": "blue", "plugins": [{"type": "bridge", "shape": [1, {}]}]}`,
	})
	etc := filepath.Join(dir, "etc")
	for _, err := range []error{
		os.Mkdir(filepath.Join(etc, "11-directory.conf"), 0o755),
		os.Symlink("nowhere", filepath.Join(etc, "12-dangling.conf")),
		os.Symlink("13-loop.conf", filepath.Join(etc, "13-loop.conf")),
		syscall.Mkfifo(filepath.Join(etc, "14-fifo.conf"), 0o600),
		os.Symlink("/dev/zero", filepath.Join(etc, "15-device.conf")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	all, err := src.List()
	if err != nil {
		t.Fatal(err)
	}
	var good []string
	for _, e := range all {
		if e.Err == nil {
			good = append(good, e.Name)
			continue
		}
		if said := e.Err.Error(); !strings.Contains(said, e.File) || strings.Count(said, e.File) != 1 || len(said) > 400 || strings.Contains(said, "\n") {
			t.Errorf("%s: %.500q", e.File, said)
		}
	}
	slices.Sort(good)
	if want := []string{"default", "default-restricted", "podman", "unknown"}; !slices.Equal(good, want) || len(all) != 4+13 {
		t.Errorf("of %d files, %q are good, want %q", len(all), good, want)
	}
	if _, err := src.Find("podman"); err != nil {
		t.Error(err)
	}
	e, err := src.Find("unknown")
	if err != nil {
		t.Fatal(err)
	}
	if frozen, err := e.Conflist(); err != nil || !strings.Contains(string(frozen), `"colour":"blue"`) || !strings.Contains(string(frozen), `"shape"`) {
		t.Errorf("keys that gantry does not know are lost: %s, %v", frozen, err)
	}
}

package network

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/gantryrun/gantry/network/conf"
	"github.com/gantryrun/gantry/network/netlab"
)

// ptpNetworks are configured networks of gantry's own plugins, in addition to the built-in ones.
func ptpNetworks(t *testing.T, confs map[string]string) conf.Source {
	t.Helper()
	dir := t.TempDir()
	for name, plugin := range confs {
		data := fmt.Sprintf(`{"cniVersion": "1.1.0", "name": %q, "plugins": [%s, {"type": "gantry-portmap", "capabilities": {"portMappings": true}}]}`, name, plugin)
		if err := os.WriteFile(filepath.Join(dir, name+".conflist"), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return conf.Source{Dirs: []string{dir}}
}

// Every pair of pods of two networks: what one may reach of the other.
func TestNetworksAreIsolated(t *testing.T) {
	h := lab(t)
	out := netlab.NewOutside(t, "uplink0")
	src := ptpNetworks(t, map[string]string{
		"blue":   `{"type": "gantry-ptp", "ipMasq": true, "ipam": {"type": "gantry-leases", "ranges": [[{"subnet": "10.40.0.0/24"}], [{"subnet": "fd00:40::/64"}]], "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}}`,
		"green":  `{"type": "gantry-ptp", "ipMasq": true, "ipam": {"type": "gantry-leases", "ranges": [[{"subnet": "10.50.0.0/24"}], [{"subnet": "fd00:50::/64"}]], "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}}`,
		"plain":  `{"type": "gantry-ptp", "ipam": {"type": "gantry-leases", "ranges": [[{"subnet": "10.60.0.0/24"}], [{"subnet": "fd00:60::/64"}]], "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}}`,
		"closed": `{"type": "gantry-ptp", "restricted": true, "ipam": {"type": "gantry-leases", "ranges": [[{"subnet": "10.70.0.0/24"}], [{"subnet": "fd00:70::/64"}]], "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}}`,
	})
	networks := []string{"blue", "green", "plain", "closed", "default", "default-restricted"}
	type pair struct{ a, b *pod }
	pods := map[string]pair{}
	for i, n := range networks {
		a := start(t, h, attachmentFrom(t, src, "a-"+n, n, fmt.Sprintf("%d:80", 8000+i)))
		pods[n] = pair{a, start(t, h, attachmentFrom(t, src, "b-"+n, n))}
		serve(t, a, ":80")
	}
	for _, from := range networks {
		for i, to := range networks {
			p, q := pods[from].b, pods[to].a
			if from == to {
				reaches(t, p, hostPort(q.ip4(), 80), p.ip4().String())
				reaches(t, p, hostPort(q.ip6(), 80), p.ip6().String())
				continue
			}
			blocked(t, p, hostPort(q.ip4(), 80), hostPort(q.ip6(), 80))
			// What is published is published to everybody who may reach the host's other addresses.
			if from == "closed" || from == "default-restricted" || to == "closed" || to == "default-restricted" {
				continue
			}
			if _, err := ask(p, hostPort(out.Host4, 8000+i), 3e9); err != nil {
				t.Errorf("%s to the published port of %s: %v", from, to, err)
			}
		}
	}
	if t.Failed() {
		t.Log(ruleset(t))
	}
}

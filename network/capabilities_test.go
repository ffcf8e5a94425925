package network

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gantryrun/gantry/network/conf"
	"github.com/gantryrun/gantry/network/netlab"
)

// A plugin is given what it declares to take, and nothing else; a wish that no plugin takes is refused.
func TestCapabilities(t *testing.T) {
	h := lab(t)
	h.PluginDirs = []string{buildFaulty(t)}
	dir := t.TempDir()
	network := func(t *testing.T, capabilities string) conf.Source {
		t.Helper()
		etc := t.TempDir()
		data := `{"cniVersion": "1.1.0", "name": "n", "plugins": [{"type": "cnifault", "dir": "` + dir + `", "capabilities": {` + capabilities + `}}]}`
		if err := os.WriteFile(filepath.Join(etc, "n.conflist"), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		return conf.Source{Dirs: []string{etc}, PluginDirs: h.PluginDirs}
	}
	all := map[string]any{
		"ips": []any{"10.0.0.9"}, "mac": "02:00:00:00:00:09", "aliases": []any{"pod", "web"},
		"bandwidth":    map[string]any{"ingressRate": 1e7, "ingressBurst": 1e6},
		"dns":          map[string]any{"servers": []any{"192.0.2.53"}, "searches": []any{"example"}},
		"portMappings": []any{map[string]any{"hostPort": 80.0, "containerPort": 8080.0, "protocol": "tcp"}},
	}
	for capability, want := range all {
		t.Run(capability, func(t *testing.T) {
			args, ports := "n:IP=10.0.0.9;MAC=02:00:00:00:00:09", []string(nil)
			switch capability {
			case "aliases":
				args += ";ALIAS=web"
			case "bandwidth":
				args += ";INGRESS=10M"
			case "portMappings":
				ports = []string{"80:8080"}
			}
			a := attachmentFrom(t, network(t, `"`+capability+`": true, "other": true`), "pod-a", args, ports...)
			a.Aliases, a.DNS = []string{"pod"}, DNS{Nameservers: []string{"192.0.2.53"}, Search: []string{"example"}}
			ns := netlab.New(t)
			if _, err := h.Attach(t.Context(), a, ns.Path()); err != nil {
				t.Fatal(err)
			}
			same := func(when string) {
				t.Helper()
				var given struct{ RuntimeConfig map[string]any }
				data, err := os.ReadFile(filepath.Join(dir, "stdin"))
				if err == nil {
					err = json.Unmarshal(data, &given)
				}
				if diff := cmp.Diff(map[string]any{capability: want}, given.RuntimeConfig); diff != "" || err != nil {
					t.Errorf("%s: %v\n%s", when, err, diff)
				}
			}
			same("ADD")
			registered, err := h.Register()
			if err != nil || len(registered) != 1 {
				t.Fatalf("register: %v, %v", registered, err)
			}
			if err := h.Check(t.Context(), registered[0].Attachment, registered[0].NetNS); err != nil {
				t.Error(err)
			}
			same("CHECK, from the register")
			if err := h.Detach(t.Context(), a, ""); err != nil {
				t.Error(err)
			}
			same("DEL")
		})
	}
	for _, wish := range []string{"default:ALIAS=web", "default:EGRESS=1M"} {
		sel, err := conf.ParseNet([]string{wish})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := (conf.Source{}).Freeze(sel, nil); err == nil || !strings.Contains(err.Error(), "no plugin has the capability") {
			t.Errorf("%s: %v", wish, err)
		}
	}
	mac := start(t, h, attachment(t, "pod-b", "default:MAC=02:00:00:00:00:77"))
	if mac.res.MAC != "02:00:00:00:00:77" {
		t.Errorf("MAC %s", mac.res.MAC)
	}
	serve(t, mac, ":80")
	reaches(t, onHost{}, hostPort(mac.ip6(), 80), mac.res.IPs[1].Gateway.String())
}

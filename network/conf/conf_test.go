package conf

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containernetworking/cni/libcni"
	"github.com/google/go-cmp/cmp"
)

// tree writes files below a new directory and gives a Source of its two net.d directories, the user's first.
func tree(t *testing.T, files map[string]string) (src Source, dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return Source{
		Dirs:       []string{filepath.Join(dir, "user"), filepath.Join(dir, "etc"), filepath.Join(dir, "missing")},
		PluginDirs: []string{filepath.Join(dir, "bin")},
	}, dir
}

func TestFind(t *testing.T) {
	bridge := `{"cniVersion": "1.0.0", "name": "lan", "plugins": [{"type": "bridge"}]}`
	tests := map[string]struct {
		files map[string]string
		ask   string
		file  string
		types []string
		err   string
	}{
		"built in":            {ask: "default", types: []string{TypePTP, TypePortmap}},
		"built in, overruled": {map[string]string{"etc/10.conf": `{"name": "default", "type": "macvlan"}`}, "default", "etc/10.conf", []string{"macvlan"}, ""},
		"list":                {map[string]string{"etc/10.conflist": bridge}, "lan", "etc/10.conflist", []string{"bridge"}, ""},
		"user's first": {map[string]string{
			"etc/10.conflist": bridge, "user/90.conf": `{"name": "lan", "type": "macvlan"}`,
		}, "lan", "user/90.conf", []string{"macvlan"}, ""},
		"lists before single plugins": {map[string]string{
			"etc/10.conf": `{"name": "lan", "type": "macvlan"}`, "etc/90.conflist": bridge,
		}, "lan", "etc/90.conflist", []string{"bridge"}, ""},
		"first by file name": {map[string]string{
			"etc/20.conf": `{"name": "lan", "type": "b"}`, "etc/10.conf": `{"name": "lan", "type": "a"}`,
		}, "lan", "etc/10.conf", []string{"a"}, ""},
		"a broken file harms no other": {map[string]string{
			"etc/05.conflist": "{", "etc/10.conflist": bridge,
		}, "lan", "etc/10.conflist", []string{"bridge"}, ""},
		"plugins in a directory beside it": {map[string]string{
			"etc/10.conflist": `{"cniVersion": "1.1.0", "name": "lan"}`, "etc/lan/1.conf": `{"type": "vlan"}`,
		}, "lan", "etc/10.conflist", []string{"vlan"}, ""},
		"other files do not count": {map[string]string{"etc/10.conflist.bak": bridge}, "lan", "", nil, `find network "lan": network not found in`},
		"not there":                {nil, "lan", "", nil, "missing"},
		"not there, something is broken": {
			map[string]string{"etc/05.conflist": "{"}, "lan", "", nil, "etc/05.conflist: unexpected end of JSON",
		},
		"no type":       {map[string]string{"etc/1.conf": `{"name": "lan", "plugins": [{}]}`}, "lan", "", nil, "missing 'type'"},
		"no plugins":    {map[string]string{"etc/1.conf": `{"name": "lan"}`}, "lan", "", nil, "no plugins"},
		"a path's name": {map[string]string{"etc/1.conf": `{"name": "../lan", "type": "x"}`}, "../lan", "", nil, "network not found"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			src, dir := tree(t, test.files)
			got, err := src.Find(test.ask)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) || !errors.Is(err, ErrNotFound) {
					t.Fatalf("error %v, want %q", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			file, _ := filepath.Rel(dir, got.File)
			if got.File == "" {
				file = ""
			}
			if file != test.file || !cmp.Equal(got.Types, test.types) {
				t.Errorf("found %s %v, want %s %v", file, got.Types, test.file, test.types)
			}
		})
	}
}

func TestList(t *testing.T) {
	src, _ := tree(t, map[string]string{
		"etc/1.conf": `{"name": "lan", "type": "x"}`, "user/1.conf": `{"name": "lan", "type": "y"}`,
		"etc/2.conf": "{", "etc/3.conf": `{"name": "default-restricted", "type": "z"}`,
	})
	all, err := src.List()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range all {
		switch {
		case e.Err != nil:
			got = append(got, "broken "+filepath.Base(e.File))
		default:
			got = append(got, e.Name+" "+strings.Join(e.Types, "+"))
		}
	}
	want := []string{"lan y", "broken 2.conf", "default-restricted z", "default gantry-ptp+gantry-portmap"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestFreeze(t *testing.T) {
	files := map[string]string{
		"bin/bridge": "", "bin/host-local": "", "bin/portmap": "",
		"etc/1.conf":           `{"cniVersion": "0.4.0", "name": "lan", "type": "bridge", "ipam": {"type": "host-local"}}`,
		"etc/2.conf":           `{"name": "gone", "type": "ipvlan"}`,
		"etc/3.conf":           `{"name": "noipam", "type": "bridge", "ipam": {"type": "dhcp"}}`,
		"etc/4.conflist":       `{"cniVersions": ["0.4.0", "1.0.0", "9.0.0"], "name": "split", "disableCheck": true, "note": 1}`,
		"etc/split/1.conf":     `{"type": "bridge"}`,
		"etc/split/2.conf":     `{"type": "portmap", "capabilities": {"portMappings": true}}`,
		"etc/split/ignored.no": "{",
	}
	src, _ := tree(t, files)
	ports := []PortMapping{{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"}}
	freeze := func(t *testing.T, ports []PortMapping, net ...string) ([]Network, error) {
		t.Helper()
		sel, err := ParseNet(net)
		if err != nil {
			t.Fatal(err)
		}
		return src.Freeze(sel, ports)
	}
	t.Run("interfaces in the order given, ports to the first that takes them", func(t *testing.T) {
		nets, err := freeze(t, ports, "lan:IP=10.1.2.3", "split,default")
		if err != nil {
			t.Fatal(err)
		}
		var conflists []string
		for i := range nets {
			conflists = append(conflists, string(nets[i].Conflist))
			nets[i].Conflist = nil
		}
		want := []Network{
			{Name: "lan", IfName: "eth0", Args: [][2]string{{"IP", "10.1.2.3"}}},
			{Name: "split", IfName: "eth1", Ports: ports},
			{Name: "default", IfName: "eth2", NoDNS: true},
		}
		if diff := cmp.Diff(want, nets, cmp.Comparer(func(a, b PortMapping) bool { return a == b })); diff != "" {
			t.Error(diff)
		}
		for i, w := range []string{
			`{"cniVersion":"0.4.0","loadOnlyInlinedPlugins":true,"name":"lan","plugins":[{"cniVersion":"0.4.0","ipam":{"type":"host-local"},"name":"lan","type":"bridge"}]}`,
			`{"cniVersion":"1.0.0","disableCheck":true,"loadOnlyInlinedPlugins":true,"name":"split","note":1,"plugins":[{"type":"bridge"},{"type":"portmap","capabilities":{"portMappings":true}}]}`,
		} {
			if diff := cmp.Diff(decode(t, w), decode(t, conflists[i])); diff != "" {
				t.Error(diff)
			}
		}
	})
	errs := map[string]struct {
		net   string
		ports []PortMapping
		want  string
	}{
		"no such network":     {"nowhere", nil, "network not found"},
		"no such plugin":      {"gone", nil, `etc/2.conf): plugin "ipvlan" is not in `},
		"no such ipam plugin": {"noipam", nil, `plugin "dhcp" is not in `},
		"nobody takes ports":  {"lan", ports, "publish port 8080:80/tcp: no network"},
		"no namespace":        {"host", ports, "publish port 8080:80/tcp: a pod with --net=host"},
		"port given twice":    {"default", append(ports, ports...), "given twice"},
		"port not resolved":   {"default", []PortMapping{{Name: "http", HostPort: 80}}, `no port "http"`},
	}
	for name, test := range errs {
		t.Run(name, func(t *testing.T) {
			if _, err := freeze(t, test.ports, test.net); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}

func TestFreezeAll(t *testing.T) {
	src, _ := tree(t, map[string]string{"bin/x": "", "etc/1.conf": `{"name": "b", "type": "x"}`, "user/1.conf": `{"name": "a", "type": "x"}`})
	sel, err := ParseNet([]string{"all"})
	if err != nil {
		t.Fatal(err)
	}
	nets, err := src.Freeze(sel, nil)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, n := range nets {
		names = append(names, n.Name+" "+n.IfName)
	}
	if diff := cmp.Diff([]string{"a eth0", "b eth1", "default eth2"}, names); diff != "" {
		t.Error(diff)
	}
}

func decode(t *testing.T, s string) (v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(s), &v); err != nil {
		t.Fatalf("%v in %s", err, s)
	}
	return v
}

// The example of docs/network.md must be a network that works.
func TestDocumentedExample(t *testing.T) {
	doc, err := os.ReadFile("../../docs/network.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(doc), "```json\n")
	example, _, ok := strings.Cut(rest, "```")
	if !ok {
		t.Fatal("no example in docs/network.md")
	}
	src, _ := tree(t, map[string]string{"etc/default.conflist": example})
	nets, err := src.Freeze(Selection{Networks: []Request{{Name: "default"}}}, nil)
	if err != nil || !strings.Contains(string(nets[0].Conflist), "10.30.0.0/16") {
		t.Errorf("freeze: %v, %v", nets, err)
	}
}

// TestNoDNS: only of gantry's own plugins it is known beforehand that they say nothing of DNS.
func TestNoDNS(t *testing.T) {
	for plugin, want := range map[string]bool{
		`{"type": "gantry-ptp", "ipam": {"type": "gantry-leases"}}`:                                        true,
		`{"type": "gantry-ptp", "ipam": {"type": "gantry-leases"}, "dns": {"nameservers": ["192.0.2.1"]}}`: false,
		`{"type": "gantry-ptp", "ipam": {"type": "host-local"}}`:                                           false,
		`{"type": "gantry-ptp", "ipam": {"type": "gantry-leases"}}, {"type": "tuning"}`:                    false,
	} {
		list, err := libcni.NetworkConfFromBytes([]byte(`{"cniVersion": "1.0.0", "name": "n", "plugins": [` + plugin + `]}`))
		if err != nil {
			t.Fatal(err)
		}
		if got := noDNS(list); got != want {
			t.Errorf("%s: %v", plugin, got)
		}
	}
}

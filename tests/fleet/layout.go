package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// attributesSize is that of the JSON that every pod gets.
const attributesSize = 24 << 10

// layOut decides which instance is where, and writes what `generate` reads. The first instance of each host is of the
// service edge, at whose HAProxy the client asks; all others are web.
func (l *lab) layOut() error {
	for _, h := range l.hosts {
		for i := range l.pods {
			service := "web"
			if i == 0 {
				service = "edge"
			}
			h.instances = append(h.instances, instance{
				name: fmt.Sprintf("%s-%d-%d", service, h.index, i+1), service: service, host: h.name, address: fmt.Sprintf("10.91.%d.%d", h.index, i+1),
			})
		}
	}
	return l.release("1", l.images["app1"], l.images["app1"])
}

// release writes the tables of a release and generates its output, work/out-NAME.
func (l *lab) release(name, edge, web string) error {
	fleet := filepath.Join(l.work, "fleet-"+name)
	if err := os.MkdirAll(filepath.Join(fleet, "attributes"), 0o755); err != nil {
		return err
	}
	table := "# instance\tservice\thost\taddress\n"
	for _, i := range l.all() {
		table += strings.Join([]string{i.name, i.service, i.host, i.address}, "\t") + "\n"
	}
	services := "# service\tmemory\troute\thaproxy\texport\tapp\tannounce\n"
	for service, app := range map[string]string{"edge": edge, "web": web} {
		services += strings.Join([]string{service, "256M", l.images["route"], l.images["haproxy"], l.images["export"], app, l.images["announce"]}, "\t") + "\n"
	}
	files := map[string]string{
		"hosts.tsv": table, "services.tsv": services,
		"fleet.conf":           "DNS=" + gateway + "\nDNS_SEARCH=fleet.example\nDISCOVERY=http://" + gateway + ":2181\n",
		"attributes/web.json":  attributes("web"),
		"attributes/edge.json": attributes("edge"),
	}
	for file, text := range files {
		if err := os.WriteFile(filepath.Join(fleet, file), []byte(text), 0o644); err != nil {
			return err
		}
	}
	out, err := exec.Command(l.example("generate"), fleet, l.output(name)).CombinedOutput()
	if err != nil {
		return fmt.Errorf("generate: %w: %s", err, out)
	}
	return nil
}

// output is where generate wrote a release.
func (l *lab) output(release string) string { return filepath.Join(l.work, "out-"+release) }

// all are the instances of all hosts.
func (l *lab) all() []instance {
	var out []instance
	for _, h := range l.hosts {
		out = append(out, h.instances...)
	}
	return out
}

// attributes are JSON of attributesSize, with all that a shell or systemd could stumble over.
func attributes(service string) string {
	list := []string{}
	for n := 0; n < attributesSize; {
		word := fmt.Sprintf(`%s %d: 100%% of $HOME, ${A}, "quotes" and \back\slashes`, service, len(list))
		list = append(list, word)
		n += len(word) + 9
	}
	text, err := json.Marshal(map[string]any{"service": service, "lines": list})
	if err != nil {
		panic(err) // strings can be marshalled
	}
	return string(text)
}

func attributesSum(service string) string {
	sum := sha256.Sum256([]byte(attributes(service)))
	return hex.EncodeToString(sum[:])
}

// rollout runs the example, and returns what it said.
func (l *lab) rollout(ctx context.Context, release string, gate int) (string, error) {
	cmd := exec.CommandContext(ctx, l.example("rollout"), "-c", fmt.Sprint(l.parallel), l.output(release))
	cmd.Env = append(os.Environ(), "FLEET_REMOTE="+filepath.Join(l.work, "remote"), fmt.Sprintf("FLEET_GATE=%d", gate))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

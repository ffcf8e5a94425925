package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// run runs a command on the host; a code other than 0 is an error that holds what it said.
func (h *host) run(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	code, stdout, stderr, err := h.Run(ctx, args...)
	if err != nil {
		return "", fmt.Errorf("%s: %w", args[0], err)
	}
	if code != 0 {
		return stdout, fmt.Errorf("%s: exit code %d: %s%s", strings.Join(args, " "), code, stdout, stderr)
	}
	return strings.TrimSpace(stdout), nil
}

// sh runs a line of shell there.
func (h *host) sh(ctx context.Context, line string) (string, error) {
	return h.run(ctx, "sh", "-euc", line)
}

// install makes a host of the fleet of a bare one: what Ansible's tasks in examples/fleet do too.
func (h *host) install(ctx context.Context) error {
	unit, err := os.ReadFile(h.lab.example("pod@.service"))
	if err != nil {
		return err
	}
	const discoveryName = "discovery.fleet.example"
	files := map[string]string{
		"/etc/systemd/system/pod@.service": string(unit),
		"/etc/gantry/ca.pem":               string(h.lab.registry.ca),
		"/etc/gantry/registries.d/fleet.json": `{"kind": "registries", "version": "v1", "registries": [` +
			`{"prefix": "` + registryName + `", "ca": "/etc/gantry/ca.pem"}]}`,
		"/etc/gantry/trust.d/fleet.json": `{"kind": "trust", "version": "v1", "default": "reject", "rules": [` +
			`{"prefix": "` + registryName + `", "require": "signed"}]}`,
		// Leases must not survive a reboot, which no pod survives.
		"/etc/gantry/net.d/bond0.conflist": fmt.Sprintf(`{"cniVersion": "1.0.0", "name": "bond0", "plugins": [{"type": "macvlan", "master": "bond0",
  "mode": "bridge", "capabilities": {"ips": true}, "ipam": {"type": "host-local", "dataDir": "/run/gantry/leases",
  "ranges": [[{"subnet": "10.91.0.0/16", "rangeStart": "10.91.%d.1", "rangeEnd": "10.91.%d.250", "gateway": "%s"}]],
  "routes": [{"dst": "0.0.0.0/0"}]}}]}`, h.index, h.index, gateway),
		"/etc/hosts":          "127.0.0.1 localhost\n" + gateway + " " + registryName + " " + discoveryName + "\n",
		"/etc/gantry/key.pub": string(h.lab.registry.public),
		// A pod's After=network-online.target waits for the cable.
		"/etc/systemd/system/cable.service": "[Unit]\nBefore=network-online.target\n[Service]\nType=oneshot\nRemainAfterExit=yes\n" +
			"ExecStart=/bin/sh -c 'until ip route get " + gateway + "; do sleep 0.05; done'\n[Install]\nWantedBy=network-online.target\n",
	}
	for path, text := range files {
		if err := h.write(path, text); err != nil {
			return err
		}
	}
	if err := h.tools(); err != nil {
		return err
	}
	_, err = h.sh(ctx, "gantry trust --prefix="+registryName+" /etc/gantry/key.pub; systemctl daemon-reload; systemctl enable --quiet --now cable.service")
	return err
}

// tools puts gantry's tmpfiles.d there, as the package does.
func (h *host) tools() error {
	text, err := os.ReadFile(filepath.Join(h.lab.root, "packaging/tmpfiles.d/gantry.conf"))
	if err != nil {
		return err
	}
	return h.write("/usr/lib/tmpfiles.d/gantry.conf", string(text))
}

// write writes a file of the host, whole.
func (h *host) write(path, text string) error {
	file := h.Path(path)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(file+".new", []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

// units are the names of the host's units.
func (h *host) units() []string {
	var out []string
	for _, i := range h.instances {
		out = append(out, "pod@"+i.name+".service")
	}
	return out
}

// await waits until ok, or says what it waited for.
func await(ctx context.Context, limit time.Duration, what string, ok func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var last error
	for {
		done, err := ok()
		if done && err == nil {
			return nil
		}
		last = errors.Join(err)
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited %s in vain for %s: %w", limit, what, errors.Join(ctx.Err(), last))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/gantryrun/gantry/tests/hosts"
)

// gateway is the bridge's own address: what serves the hosts listens there.
const gateway = "10.91.0.1"

// lab is the network, what serves in it, and the hosts.
type lab struct {
	settings
	hosts     []*host
	registry  *registry
	discovery *discovery
	images    map[string]string // name -> reference with digest
	plugs     int               // serial number of network cables
	mu        sync.Mutex
}

// host is one machine of the fleet.
type host struct {
	*hosts.Host
	lab       *lab
	name      string
	index     int
	state     string     // its directory outside
	instances []instance // that belong there
	baseline  snapshot
}

// instance is a row of hosts.tsv: a pod.
type instance struct{ name, service, host, address string }

// newLab makes the network and boots the hosts, at the same time.
func newLab(ctx context.Context, s settings) (*lab, error) {
	l := &lab{settings: s, images: map[string]string{}}
	if err := os.CopyFS(l.example(""), os.DirFS(filepath.Join(s.root, "examples/fleet"))); err != nil { // the run is long, and the tree may change
		return l, err
	}
	for _, args := range [][]string{
		{"link", "add", "lab", "type", "bridge"},
		{"address", "add", gateway + "/16", "dev", "lab"},
		{"link", "set", "lab", "up"},
	} {
		if err := ip(args...); err != nil {
			return l, err
		}
	}
	var err error
	if l.registry, err = startRegistry(); err != nil {
		return l, err
	}
	if l.discovery, err = startDiscovery(); err != nil {
		return l, err
	}
	if err := l.pushImages(ctx); err != nil {
		return l, err
	}
	for i := range s.hosts {
		h := &host{lab: l, name: fmt.Sprintf("host%d", i+1), index: i + 1, state: filepath.Join(s.work, fmt.Sprintf("host%d", i+1))}
		l.hosts = append(l.hosts, h)
	}
	return l, l.each(func(h *host) error { return h.begin(ctx) })
}

// example is a file of examples/fleet, as it was when the run began.
func (l *lab) example(name string) string { return filepath.Join(l.work, "example", name) }

func ip(args ...string) error {
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// each does something on all hosts at once.
func (l *lab) each(do func(h *host) error) error {
	var g errgroup.Group
	for _, h := range l.hosts {
		g.Go(func() error {
			if err := do(h); err != nil {
				return fmt.Errorf("%s: %w", h.name, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// close ends the hosts and what serves them.
func (l *lab) close() error {
	err := l.each(func(h *host) error {
		if h.Host == nil {
			return nil
		}
		return h.Close()
	})
	if l.registry != nil {
		l.registry.stop()
	}
	if l.discovery != nil {
		l.discovery.stop()
	}
	return errors.Join(err, ip("link", "delete", "lab"))
}

// begin boots the host and takes the picture that it has to look like at the end.
func (h *host) begin(ctx context.Context) (err error) {
	if err := os.MkdirAll(h.state, 0o755); err != nil {
		return err
	}
	if h.Host, err = hosts.Boot(ctx, hosts.Options{Bin: h.lab.bin, State: h.state, Up: h.plug}); err != nil {
		return err
	}
	if err := h.lab.writeRemote(); err != nil {
		return err
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(h.Share, "fleet"), self, 0o755); err != nil {
		return err
	}
	if err := h.install(ctx); err != nil {
		return err
	}
	h.baseline, err = h.snapshot(ctx)
	return err
}

// plug puts the host on the bridge. The cable ends with the host's network namespace.
func (h *host) plug(pid int) error {
	h.lab.mu.Lock()
	defer h.lab.mu.Unlock()
	h.lab.plugs++
	outer, ns := fmt.Sprintf("port%d", h.lab.plugs), fmt.Sprint(pid)
	for _, args := range [][]string{
		{"link", "add", outer, "type", "veth", "peer", "name", "bond0", "netns", ns},
		{"link", "set", outer, "master", "lab", "up"},
	} {
		if err := ip(args...); err != nil {
			return err
		}
	}
	set := fmt.Sprintf("ip address add 10.91.0.%d/16 dev bond0; ip link set bond0 up; ip route add default via %s", 10+h.index, gateway)
	if out, err := exec.Command("nsenter", "-t", ns, "-n", "sh", "-euc", set).CombinedOutput(); err != nil {
		return fmt.Errorf("plug in: %w: %s", err, out)
	}
	return nil
}

// writeRemote writes the command that the examples use in place of ssh: remote HOST COMMAND...
func (l *lab) writeRemote() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var text strings.Builder
	text.WriteString("#!/bin/sh\nhost=$1; shift\ncase $host in\n")
	for _, h := range l.hosts {
		if h.Host == nil {
			continue
		}
		fmt.Fprintf(&text, "%s) set --", h.name)
		for _, word := range h.Command() {
			fmt.Fprintf(&text, " '%s'", strings.ReplaceAll(word, "'", `'\''`))
		}
		text.WriteString(" \"$@\" ;;\n")
	}
	text.WriteString("*) echo \"no host $host\" >&2; exit 255 ;;\nesac\nexec \"$@\"\n")
	file := filepath.Join(l.work, "remote")
	if err := os.WriteFile(file+".new", []byte(text.String()), 0o755); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

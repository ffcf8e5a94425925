package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/gantryrun/gantry/tests/ociimage"
)

const iperfSeconds = 2

// path is one way of TCP: how a client is started, and where to it connects.
type path struct {
	who, what string
	client    []string // a command that ends where iperf3's arguments begin
	server    string
	port      int
}

// throughput measures TCP with iperf3: pod to pod, pod to host, and from a neighbour of the host through a published port.
func (b *bench) throughput(ctx context.Context) (rows []row, err error) {
	stop, err := b.startIperf(ctx)
	defer func() { err = errors.Join(err, stop(context.WithoutCancel(ctx))) }()
	if err != nil {
		return nil, err
	}
	g, p, err := b.iperfAddresses(ctx)
	if err != nil {
		return nil, err
	}
	gantry := b.gantryArgs(filepath.Join(b.work, "gantry"), "enter", "iperf-client", "iperf3")
	podman := b.podmanArgs(filepath.Join(b.work, "podman"), "exec", "iperf-client", "iperf3")
	neighbour := []string{"ip", "netns", "exec", "neighbour", "iperf3"}
	for _, paths := range [][2]path{
		{{"gantry", "pod to pod", gantry, g.pod, 5201}, {"podman", "", podman, p.pod, 5201}},
		{{"gantry", "pod to host", gantry, g.host, 5301}, {"podman", "", podman, p.host, 5301}},
		{{"gantry", "neighbour of the host to a published port", neighbour, neighbourGateway, 18090}, {"podman", "", neighbour, neighbourGateway, 18091}},
	} {
		r := row{name: "TCP, " + paths[0].what, unit: "Gbit/s", limits: []limit{ratio("podman", 0.95)}, rounds: 9}
		var speeds [2][]float64
		for range r.rounds {
			for i, path := range paths {
				speed, err := b.iperf(ctx, path)
				if err != nil {
					return nil, err
				}
				speeds[i] = append(speeds[i], speed)
			}
		}
		for i, path := range paths {
			r.lines = append(r.lines, line{path.who, median(speeds[i])})
		}
		rows = append(rows, r)
	}
	return rows, nil
}

// iperf runs a client for a while and says, in Gbit/s, what the server received.
func (b *bench) iperf(ctx context.Context, p path) (float64, error) {
	var text string
	err := b.crunBox.do(func() error {
		var err error
		text, _, err = output(ctx, append(p.client, "-J", "-t", fmt.Sprint(iperfSeconds), "-c", p.server, "-p", fmt.Sprint(p.port))...)
		return err
	})
	if err != nil {
		return 0, err
	}
	var report struct {
		End struct {
			Received struct {
				Speed float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		} `json:"end"`
	}
	if err := json.Unmarshal([]byte(text), &report); err != nil {
		return 0, fmt.Errorf("read what iperf3 says: %w", err)
	}
	if report.End.Received.Speed == 0 {
		return 0, fmt.Errorf("iperf3 of %s to %s: nothing arrived: %s", p.who, p.server, text)
	}
	return report.End.Received.Speed / 1e9, nil
}

const (
	neighbourGateway = "192.0.2.1"
	neighbourScript  = `ip netns add neighbour
		ip link add neighbour0 type veth peer name eth0 netns neighbour
		ip addr add 192.0.2.1/24 dev neighbour0; ip link set neighbour0 up
		ip -n neighbour addr add 192.0.2.2/24 dev eth0; ip -n neighbour link set eth0 up`
)

// startIperf makes a neighbour of the host, and starts servers and clients: on the host, in pods, in containers.
func (b *bench) startIperf(ctx context.Context) (stop func(context.Context) error, err error) {
	var server *exec.Cmd
	stop = func(ctx context.Context) error {
		if server != nil {
			_ = server.Process.Kill()
			_ = server.Wait()
		}
		_ = b.gantry(ctx, "stop", "--force", "iperf-server", "iperf-client") // perhaps not all of them were started
		return errors.Join(
			b.gantry(ctx, "gc", "--grace-period=0s"), b.podman(ctx, "rm", "-f", "-a", "-t", "0"),
			command(ctx, "sh", "-ec", "ip link del neighbour0; ip netns del neighbour"))
	}
	archive := filepath.Join(b.work, "iperf.tar")
	if err := writeIperf(archive); err != nil {
		return stop, err
	}
	local := "oci-archive:" + archive + ":iperf"
	if err := errors.Join(
		command(ctx, "sh", "-ec", neighbourScript),
		b.gantry(ctx, "run", "--detach", "--pod-name=iperf-server", "--port=18090:5201/tcp", local, "--", "iperf3", "-s"),
		b.gantry(ctx, "run", "--detach", "--pod-name=iperf-client", local, "--", "sleep", "1000"),
		b.podman(ctx, "load", "-q", "-i", archive),
		b.podman(ctx, "run", "-d", "--name=iperf-server", "--publish=18091:5201", "localhost/iperf", "iperf3", "-s"),
		b.podman(ctx, "run", "-d", "--name=iperf-client", "localhost/iperf", "sleep", "1000"),
	); err != nil {
		return stop, err
	}
	server = exec.Command("iperf3", "-s", "-p", "5301")
	return stop, server.Start()
}

// writeIperf packs this machine's iperf3, on busybox.
func writeIperf(archive string) error {
	entries, err := ociimage.BusyboxEntries()
	if err != nil {
		return err
	}
	program, err := ociimage.Program("iperf3")
	if err != nil {
		return err
	}
	layer, err := ociimage.Layer(append(entries, program...)...)
	if err != nil {
		return err
	}
	img, err := ociimage.Image(v1.Config{Env: []string{"PATH=/bin"}, Cmd: []string{"sh"}}, layer)
	if err != nil {
		return err
	}
	return errors.Join(ociimage.WriteArchive(archive, img, "iperf"), os.Chmod(archive, 0o644))
}

// addresses are where clients of one runtime find a server.
type addresses struct{ pod, host string }

func (b *bench) iperfAddresses(ctx context.Context) (gantry, podman addresses, err error) {
	text, _, err := output(ctx, b.gantryArgs(filepath.Join(b.work, "gantry"), "status", "--format=json", "iperf-server")...)
	if err != nil {
		return gantry, podman, err
	}
	var status struct {
		Networks []struct {
			IPs     []string `json:"ips"`
			Gateway []string `json:"gateway"`
		} `json:"networks"`
	}
	if err := json.Unmarshal([]byte(text), &status); err != nil {
		return gantry, podman, err
	}
	if len(status.Networks) != 1 {
		return gantry, podman, fmt.Errorf("status of the server: no network: %s", text)
	}
	n := status.Networks[0]
	gantry.pod, _, _ = strings.Cut(n.IPs[0], "/")
	gantry.host = n.Gateway[0]
	err = b.crunBox.do(func() error {
		args := b.podmanArgs(filepath.Join(b.work, "podman"), "inspect", "--format={{.NetworkSettings.IPAddress}} {{.NetworkSettings.Gateway}}", "iperf-server")
		text, _, err := output(ctx, args...)
		podman.pod, podman.host, _ = strings.Cut(text, " ")
		return err
	})
	if err != nil {
		return gantry, podman, err
	}
	return gantry, podman, errors.Join(awaitTCP(gantry.pod+":5201"), awaitTCP(podman.pod+":5201"), awaitTCP("127.0.0.1:5301"))
}

// awaitTCP waits until somebody listens there.
func awaitTCP(addr string) error {
	var err error
	for range 100 {
		var c net.Conn
		if c, err = net.DialTimeout("tcp", addr, time.Second); err == nil {
			return c.Close()
		}
		time.Sleep(20 * time.Millisecond)
	}
	return err
}

package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// containerdFetch pulls with ctr from a containerd that is started for it, with data, state and socket of its own.
func (b *bench) containerdFetch(images ...string) contender {
	state := filepath.Join(b.work, "containerd")
	socket := filepath.Join(state, "sock")
	var daemon *exec.Cmd
	pull := func(image string) func(context.Context) error {
		return func(ctx context.Context) error {
			return command(ctx, "ctr", "--address="+socket, "images", "pull", "--plain-http", b.registry.Addr+"/"+image)
		}
	}
	c := contender{name: "containerd", run: pull(images[0])}
	for _, image := range images[1:] {
		c.then = append(c.then, pull(image))
	}
	if len(images) > 1 {
		c.then = append(c.then, func(ctx context.Context) error {
			return command(ctx, "ctr", "--address="+socket, "images", "rm", "--sync", b.registry.Addr+"/"+images[0], b.registry.Addr+"/"+images[1])
		})
	}
	c.before = func(ctx context.Context) error {
		var err error
		daemon, err = startContainerd(ctx, b.onDisk("containerd"), state, socket)
		return err
	}
	c.after = func(context.Context) error {
		_ = daemon.Process.Signal(syscall.SIGTERM)
		_ = daemon.Wait() // it says that it was terminated
		return os.RemoveAll(state)
	}
	return b.freshDisk(c)
}

func startContainerd(ctx context.Context, root, state, socket string) (*exec.Cmd, error) {
	if err := os.MkdirAll(state, 0o755); err != nil {
		return nil, err
	}
	config, log := filepath.Join(state, "config.toml"), filepath.Join(state, "log")
	text := fmt.Sprintf(`version = 2
root = %q
state = %q
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]
[grpc]
address = %q
[plugins."io.containerd.internal.v1.opt"]
path = %q
`, root, filepath.Join(state, "run"), socket, filepath.Join(state, "opt"))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	out, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := exec.CommandContext(ctx, "containerd", "--config", config)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if c, err := net.Dial("unix", socket); err == nil {
			_ = c.Close()
			return cmd, command(ctx, "ctr", "--address="+socket, "version")
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	said, _ := os.ReadFile(log)
	return nil, fmt.Errorf("containerd does not answer:\n%s", said)
}

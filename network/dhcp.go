package network

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/containernetworking/cni/libcni"
	"golang.org/x/sys/unix"
)

// The IPAM plugin dhcp asks a daemon, its own program, that keeps the leases alive. Each attachment has one of its own: a child of
// the process that attaches, the pod's supervisor, which dies with it, and at the end of the attachment. A configuration that names a
// socket (daemonSocketPath) has a daemon that somebody else looks after.
const typeDHCP = "dhcp"

// dhcpTimeout bounds the start of a daemon.
const dhcpTimeout = 5 * time.Second

// pointDHCP points the plugins of the list that need a daemon to the attachment's; socket is empty if none does.
func (h *Host) pointDHCP(a Attachment, list *libcni.NetworkConfigList) (socket string, err error) {
	path := filepath.Join(h.runDir(), "dhcp", a.PodID+"-"+a.IfName+".sock")
	for i, p := range list.Plugins {
		if p.Network.IPAM.Type != typeDHCP {
			continue
		}
		pointed, own, err := pointTo(p, path)
		if err != nil {
			return "", fmt.Errorf("configure plugin %s: %w", p.Network.Type, err)
		}
		if own {
			list.Plugins[i], socket = pointed, path
		}
	}
	return socket, nil
}

// withDHCP sees to it that a daemon answers, if the list needs one. stop ends it.
func (h *Host) withDHCP(ctx context.Context, a Attachment, list *libcni.NetworkConfigList) (stop func() error, err error) {
	socket, err := h.pointDHCP(a, list)
	if err != nil || socket == "" {
		return func() error { return nil }, err
	}
	if !answers(socket) { // Attach has started it already
		err = h.startDHCP(ctx, socket)
	}
	return func() error { return stopDHCP(socket) }, err
}

func answers(socket string) bool {
	c, err := net.Dial("unix", socket)
	if err == nil {
		_ = c.Close()
	}
	return err == nil
}

// pointTo gives the plugin's configuration with the daemon's socket in it; own is false if it has one.
func pointTo(p *libcni.PluginConfig, socket string) (_ *libcni.PluginConfig, own bool, err error) {
	var conf, ipam map[string]json.RawMessage
	if err := json.Unmarshal(p.Bytes, &conf); err != nil {
		return nil, false, err
	}
	if err := json.Unmarshal(conf["ipam"], &ipam); err != nil {
		return nil, false, err
	}
	if ipam["daemonSocketPath"] != nil {
		return nil, false, nil
	}
	if ipam["daemonSocketPath"], err = json.Marshal(socket); err != nil {
		return nil, false, err
	}
	if conf["ipam"], err = json.Marshal(ipam); err != nil {
		return nil, false, err
	}
	data, err := json.Marshal(conf)
	if err != nil {
		return nil, false, err
	}
	pointed, err := libcni.NetworkPluginConfFromBytes(data)
	return pointed, true, err
}

// startDHCP starts the daemon and waits until it answers.
func (h *Host) startDHCP(ctx context.Context, socket string) error {
	path, err := (&pluginExec{host: h}).FindInPath(typeDHCP, h.PluginDirs)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(socket), 0o700); err != nil {
		return fmt.Errorf("start dhcp daemon: %w", err)
	}
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) { // a dead one's
		return fmt.Errorf("start dhcp daemon: %w", err)
	}
	c := exec.Command(path, "daemon", "-socketpath", socket)
	c.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	if c.SysProcAttr, err = h.bornInCgroup(); err != nil {
		return err
	}
	started, over := make(chan error, 1), make(chan struct{})
	go func() {
		runtime.LockOSThread() // it is killed when this thread ends, and is waited for here
		err := c.Start()
		started <- err
		if err == nil {
			_ = c.Wait()
		}
		close(over)
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start dhcp daemon: %w", err)
	}
	deadline := time.After(dhcpTimeout)
	for {
		if answers(socket) {
			return nil
		}
		select {
		case <-over:
			return errors.New("start dhcp daemon: it has ended")
		case <-ctx.Done():
			_ = c.Process.Kill()
			return ctx.Err()
		case <-deadline:
			_ = c.Process.Kill()
			return fmt.Errorf("start dhcp daemon: it does not answer within %s", dhcpTimeout)
		case <-time.After(5 * time.Millisecond): // a socket that begins to listen tells nobody
		}
	}
}

// stopDHCP ends the daemon that answers at the socket: the kernel says which process that is.
func stopDHCP(socket string) error {
	c, err := net.Dial("unix", socket)
	if err == nil {
		raw, rerr := c.(*net.UnixConn).SyscallConn()
		if rerr == nil {
			err = rerr
			_ = raw.Control(func(fd uintptr) {
				var peer *unix.Ucred
				if peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
					err = unix.Kill(int(peer.Pid), unix.SIGKILL)
				}
			})
		}
		_ = c.Close()
		if err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("end dhcp daemon: %w", err)
		}
	}
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("end dhcp daemon: %w", err)
	}
	return nil
}

// bornInCgroup is how programs are started: in a process group of their own, to die with us, in the cgroup that the host gives them.
func (h *Host) bornInCgroup() (*syscall.SysProcAttr, error) {
	sys := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if h.Cgroup == nil {
		return sys, nil
	}
	cgroup, err := h.Cgroup()
	if err != nil {
		return nil, fmt.Errorf("make a cgroup for plugins: %w", err)
	}
	if cgroup != nil {
		sys.UseCgroupFD, sys.CgroupFD = true, int(cgroup.Fd())
	}
	return sys, nil
}

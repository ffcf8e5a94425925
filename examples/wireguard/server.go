package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/ipc"
	"golang.zx2c4.com/wireguard/tun"
)

// Descriptors of the process that speaks WireGuard.
const (
	supervisorFD = 3 // pidfd
	readyFD      = 4 // pipe: "ready", or what went wrong
	lockFD       = 5 // the record; its lock is held for as long as the process lives
)

// startServer starts the process and returns when the interface is there. The process outlives us, and so becomes the supervisor's child:
// that is the subreaper of what it starts.
func startServer(r record, lock *os.File) error {
	ppid := os.Getppid()
	pidfd, err := unix.PidfdOpen(ppid, 0)
	if err != nil {
		return fmt.Errorf("open pidfd of the supervisor: %w", err)
	}
	supervisor := os.NewFile(uintptr(pidfd), "supervisor")
	defer supervisor.Close()
	if os.Getppid() != ppid {
		return errors.New("the supervisor died")
	}
	ready, readyW, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ready.Close()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, "serve", r.hostName)
	cmd.Env, cmd.Dir = []string{}, "/"
	cmd.ExtraFiles = []*os.File{supervisor, readyW, lock}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	if err = errors.Join(err, readyW.Close()); err != nil {
		return fmt.Errorf("start process for WireGuard: %w", err)
	}
	said, err := io.ReadAll(ready)
	if text := strings.TrimSpace(string(said)); err != nil || text != "ready" {
		_ = cmd.Wait()
		return fmt.Errorf("process for WireGuard: %s", text)
	}
	return r.write(lock, cmd.Process.Pid)
}

// serve is that process: it makes the interface, answers `wg`, and moves packets until the supervisor is dead, the interface is gone, or
// somebody asks it to end.
func serve(name string) error {
	ready := os.NewFile(readyFD, "ready")
	for _, fd := range []int{supervisorFD, readyFD, lockFD} {
		unix.CloseOnExec(fd)
	}
	s, err := newServer(name)
	if err != nil {
		_, _ = fmt.Fprintln(ready, err)
		return err
	}
	defer s.close()
	ends := make(chan os.Signal, 1)
	signal.Notify(ends, unix.SIGTERM, unix.SIGINT)
	dead := make(chan struct{})
	go func() {
		fds := []unix.PollFd{{Fd: supervisorFD, Events: unix.POLLIN}}
		for {
			if n, err := unix.Poll(fds, -1); n > 0 || err != nil && !errors.Is(err, unix.EINTR) {
				close(dead)
				return
			}
		}
	}()
	if _, err := fmt.Fprintln(ready, "ready"); err != nil {
		return err
	}
	if err := ready.Close(); err != nil {
		return err
	}
	select {
	case <-ends:
	case <-dead:
	case <-s.device.Wait():
	}
	return nil
}

type server struct {
	device *device.Device
	uapi   io.Closer
}

func newServer(name string) (*server, error) {
	// Opened here, the tun descriptor belongs to the host's network namespace, and so keeps none of a pod's alive: when that goes, the
	// interface goes, and this process ends.
	t, err := openTUN(name)
	if err != nil {
		return nil, err
	}
	d := device.NewDevice(t, conn.NewDefaultBind(), device.NewLogger(device.LogLevelSilent, ""))
	file, err := ipc.UAPIOpen(name)
	if err != nil {
		d.Close()
		return nil, fmt.Errorf("open control socket: %w", err)
	}
	uapi, err := ipc.UAPIListen(name, file)
	if err != nil {
		d.Close()
		return nil, fmt.Errorf("open control socket: %w", err)
	}
	go func() {
		for {
			c, err := uapi.Accept()
			if err != nil {
				return
			}
			go d.IpcHandle(c)
		}
	}()
	// The interface's own state is not watched: it moves to another namespace, which looks as if it went down.
	return &server{d, uapi}, d.Up()
}

func (s *server) close() {
	_ = s.uapi.Close()
	s.device.Close()
}

func openTUN(name string) (tun.Device, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("the kernel has no WireGuard, and /dev/net/tun cannot be opened: %w", err)
	}
	ifr, err := unix.NewIfreq(name)
	if err == nil {
		ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
	}
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("make tun interface %s: %w", name, err)
	}
	t, _, err := tun.CreateUnmonitoredTUNFromFD(fd)
	return t, err
}

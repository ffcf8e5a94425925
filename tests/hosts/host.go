package hosts

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

//go:embed boot.sh
var bootScript []byte

// Options say what a Host is made of.
type Options struct {
	Bin   string // directory of gantry's programs
	State string // an empty directory on a real file system: everything of the host

	// Up is called at each boot as soon as there is a PID 1, to plug the host into a network of the caller's. May be nil.
	Up func(pid int) error
}

// Host is a running machine: systemd in namespaces of its own.
type Host struct {
	Share string // what the host sees as /mnt
	state string
	name  string
	up    func(pid int) error
	boot  *exec.Cmd
	init  int // PID 1 of the host, as the machine outside counts
	ended chan struct{}
}

var serial atomic.Int64 // distinguishes the hosts of one process

// Boot starts a host and returns when its systemd says that it is up. The caller calls Close.
func Boot(ctx context.Context, opts Options) (h *Host, err error) {
	tree, err := Tree()
	if err != nil {
		return nil, err
	}
	h = &Host{
		Share: filepath.Join(opts.State, "share"), state: opts.State,
		name: fmt.Sprintf("gantry-host-%d-%d", os.Getpid(), serial.Add(1)), ended: make(chan struct{}), up: opts.Up,
	}
	for _, d := range []string{"share", "data", "bin", "upper", "work", "root"} {
		if err := os.MkdirAll(filepath.Join(opts.State, d), 0o755); err != nil {
			return nil, err
		}
	}
	if out, err := exec.Command("cp", "-a", opts.Bin+"/.", filepath.Join(opts.State, "bin")).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("copy programs: %w: %s", err, out)
	}
	if err := os.WriteFile(filepath.Join(opts.State, "boot.sh"), bootScript, 0o755); err != nil {
		return nil, err
	}
	if err := makeCgroups(h.name); err != nil {
		return nil, errors.Join(err, removeCgroups(h.name))
	}
	if err := h.start(tree); err != nil {
		return nil, errors.Join(err, removeCgroups(h.name))
	}
	if err := h.await(ctx); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return h, nil
}

// start runs the boot script on a thread that stays: the kernel kills the host when that thread ends, not the process.
func (h *Host) start(tree string) error {
	console, err := os.Create(filepath.Join(h.state, "console"))
	if err != nil {
		return err
	}
	h.boot = exec.Command("sh", filepath.Join(h.state, "boot.sh"), tree, h.state, h.name)
	h.boot.Stdout, h.boot.Stderr = console, console
	h.boot.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		started <- h.boot.Start()
		_ = h.boot.Wait() // how it ended is of no interest
		_ = console.Close()
		close(h.ended)
	}()
	return <-started
}

// await finds the host's PID 1, and waits until all its units are started.
func (h *Host) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute) // a host that was rebooted starts its pods
	defer cancel()
	for plugged := false; ; {
		if h.findInit() {
			if !plugged && h.up != nil {
				if err := h.up(h.init); err != nil {
					return err
				}
			}
			plugged = true
			// "degraded" is a failed unit, which is a test's business.
			out, _ := h.command(ctx, "systemctl", "is-system-running", "--wait").Output()
			if s := strings.TrimSpace(string(out)); s == "running" || s == "degraded" {
				return nil
			}
		}
		select {
		case <-h.ended:
			return fmt.Errorf("host died while booting: %s", h.console())
		case <-ctx.Done():
			return fmt.Errorf("host did not boot: %w: %s", ctx.Err(), h.console())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// findInit looks for the child of unshare that has become systemd.
func (h *Host) findInit() bool {
	pid := h.boot.Process.Pid
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return false
	}
	fields := strings.Fields(string(data))
	if len(fields) == 0 {
		return false
	}
	comm, err := os.ReadFile("/proc/" + fields[0] + "/comm")
	if err != nil || string(comm) != "systemd\n" {
		return false
	}
	h.init, err = strconv.Atoi(fields[0])
	return err == nil
}

func (h *Host) console() string {
	data, _ := os.ReadFile(filepath.Join(h.state, "console"))
	return string(bytes.TrimSpace(data))
}

// enter joins the cgroups and then the namespaces of a host: the command is a child of none of its units, as after a login.
const enter = `for c in /sys/fs/cgroup/*/"$1"; do echo $$ >"$c/cgroup.procs"; done
pid=$2; shift 2
exec nsenter -t "$pid" -m -p -u -i -n -C -- env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 "$@"`

func (h *Host) command(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "sh", append(h.Command()[1:], args...)...)
}

// Run runs a command on the host, and returns its exit code and what it wrote.
func (h *Host) Run(ctx context.Context, args ...string) (code int, stdout, stderr string, err error) {
	cmd := h.command(ctx, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = nil
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String(), err
}

// Command is a shell's command line, as arguments, that runs what follows it on the host; it holds until the next boot.
func (h *Host) Command() []string {
	return []string{"sh", "-euc", enter, "enter", h.name, strconv.Itoa(h.init)}
}

// Name is the host's name, and that of its cgroup in each of this machine's hierarchies.
func (h *Host) Name() string { return h.name }

// Path is where a file of the host lies outside.
func (h *Host) Path(path string) string { return fmt.Sprintf("/proc/%d/root%s", h.init, path) }

// Close powers the host off, waits for its end, and removes its cgroups.
func (h *Host) Close() error {
	const poweroff = syscall.Signal(34 + 4) // SIGRTMIN+4, see systemd(1)
	if h.init == 0 || syscall.Kill(h.init, poweroff) != nil {
		_ = h.boot.Process.Kill()
	}
	select {
	case <-h.ended:
	case <-time.After(time.Minute):
		_ = h.boot.Process.Kill() // and with it, by --kill-child, PID 1
		<-h.ended
	}
	return removeCgroups(h.name)
}

// Reboot ends the host as a power cut does, and boots it again: what was on its disks is there.
func (h *Host) Reboot(ctx context.Context) error {
	_ = h.boot.Process.Kill()
	<-h.ended
	if err := removeCgroups(h.name); err != nil {
		return err
	}
	if err := makeCgroups(h.name); err != nil {
		return err
	}
	h.init, h.ended = 0, make(chan struct{})
	if err := os.Remove(filepath.Join(h.state, "upper/usr/bin/gantry")); err != nil {
		return err
	}
	tree, err := Tree()
	if err != nil {
		return err
	}
	if err := h.start(tree); err != nil {
		return err
	}
	return h.await(ctx)
}

// Freeze stops the host's PID 1, from outside, until the function that it returns is called.
func (h *Host) Freeze() (thaw func(), err error) {
	if err := syscall.Kill(h.init, syscall.SIGSTOP); err != nil {
		return nil, err
	}
	return func() { _ = syscall.Kill(h.init, syscall.SIGCONT) }, nil
}

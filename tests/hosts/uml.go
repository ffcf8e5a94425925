package hosts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// ErrNoUML says that User-mode Linux is not on this machine.
var ErrNoUML = errors.New("no User-mode Linux: install user-mode-linux")

// ErrPanic says that the machine's own kernel broke, which no program on it should be able to do.
var ErrPanic = errors.New("kernel panic of User-mode Linux")

// UnifiedOptions say what RunUnified is to run.
type UnifiedOptions struct {
	Bin    string // directory of gantry's programs
	State  string // an empty directory: the machine's disk, and the share
	Script string // shell, run as root when the machine is up; the share is /mnt
}

// kernelArgs make it a machine with systemd on pure cgroup v2.
var kernelArgs = []string{
	"mem=768M", "root=/dev/ubda", "rw", "con=null", "con0=null,fd:1", "quiet", "loglevel=3",
	"systemd.unified_cgroup_hierarchy=1", "cgroup_no_v1=all", "systemd.show_status=0", "random.trust_cpu=on", "init=/lib/systemd/systemd",
}

// scriptUnit runs the script of the share, leaves there what it said and its exit code, and ends the machine.
const scriptUnit = `[Unit]
After=multi-user.target dbus.service
[Service]
Type=exec
StandardOutput=null
ExecStart=/bin/sh -c 'dir=$$(sed "s/.* share=//; s/ .*//" /proc/cmdline); mount -t hostfs -o "$$dir" none /mnt; \
  mkdir -p /usr/libexec/gantry; mount --bind /mnt/bin /usr/libexec/gantry; \
  sh /mnt/run.sh >/mnt/out 2>&1; echo $$? >/mnt/code; sync; systemctl poweroff -ff'
`

// RunUnified boots a machine with systemd on pure cgroup v2, runs a script on it, and returns what that wrote and its exit code. It
// takes ten seconds. The machine has one CPU, no network, and a kernel of Debian 12's version that knows no file-backed EROFS.
func RunUnified(ctx context.Context, opts UnifiedOptions) (out string, code string, err error) {
	linux, err := exec.LookPath("linux.uml")
	if err != nil {
		return "", "", ErrNoUML
	}
	share := filepath.Join(opts.State, "share")
	disk := filepath.Join(opts.State, "root.img")
	if err := os.MkdirAll(filepath.Join(share, "bin"), 0o755); err != nil {
		return "", "", err
	}
	if err := command("cp", "-a", opts.Bin+"/.", filepath.Join(share, "bin")); err != nil {
		return "", "", err
	}
	if err := os.WriteFile(filepath.Join(share, "run.sh"), []byte(opts.Script), 0o755); err != nil {
		return "", "", err
	}
	if err := makeDisk(opts.State, disk); err != nil {
		return "", "", err
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Minute) // a minute, where nobody else is at work
	defer cancel()
	console, err := os.Create(filepath.Join(opts.State, "console"))
	if err != nil {
		return "", "", err
	}
	defer console.Close()
	cmd := exec.CommandContext(ctx, linux, append(kernelArgs, "ubd0="+disk, "share="+share)...)
	cmd.Env = []string{"TMPDIR=/dev/shm", "PATH=/usr/bin:/bin", "HOME=" + opts.State} // its memory is a file there
	cmd.Dir = opts.State
	cmd.Stdout, cmd.Stderr = console, console
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	// Its processes are processes of ours, in its process group.
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	runErr := cmd.Run()
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // helpers that outlived it
	text, _ := os.ReadFile(filepath.Join(share, "out"))
	data, err := os.ReadFile(filepath.Join(share, "code"))
	if err != nil {
		said, _ := os.ReadFile(console.Name())
		if bytes.Contains(said, []byte("Kernel panic")) {
			runErr = ErrPanic
		}
		return string(text), "", fmt.Errorf("machine ended before its script: %w: %s", errors.Join(runErr, ctx.Err()), said)
	}
	return string(text), strings.TrimSpace(string(data)), nil
}

// makeDisk makes the machine's disk: Debian's tree, the kernel's modules, and the unit that runs the script.
func makeDisk(state, disk string) error {
	tree, err := Tree()
	if err != nil {
		return err
	}
	root := filepath.Join(state, "tree")
	if err := command("cp", "-a", tree, root); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(root, "usr/lib/modules"), 0o755); err != nil {
		return err
	}
	if err := command("sh", "-euc", `cp -a /usr/lib/uml/modules/* "$1"`, "sh", filepath.Join(root, "usr/lib/modules")); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(root, "etc/systemd/system/script.service"), []byte(scriptUnit), 0o644); err != nil {
		return err
	}
	for link, target := range map[string]string{
		"etc/systemd/system/graphical.target.wants/script.service": "/etc/systemd/system/script.service",
		"usr/bin/gantry": "../libexec/gantry/gantry",
	} {
		path := filepath.Join(root, link)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.Symlink(target, path)); err != nil {
			return err
		}
	}
	if err := command("mke2fs", "-q", "-t", "ext4", "-d", root, disk, "1400M"); err != nil {
		return err
	}
	return os.RemoveAll(root)
}

func command(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return nil
}

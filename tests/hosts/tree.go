package hosts

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/tests/testimages"
)

// packages are what the hosts have: systemd, what gantry needs of a host, what the tests look at it with, and what keeps firewalls, which is
// not started.
const packages = "systemd,systemd-sysv,systemd-container,dbus,iproute2,procps,busybox-static,nftables,iptables,ca-certificates,kmod,ufw,firewalld,docker.io"

// ErrNoTree says that Debian's tree is not there, and that the program that makes it is not either.
var ErrNoTree = errors.New("no tree of Debian with systemd")

// Tree returns the root of a Debian with systemd, from the cache, or made by mmdebstrap in a minute. Nothing may be
// written into it.
func Tree() (string, error) {
	cache := filepath.Join(testimages.Cache(), "hosts")
	tree := filepath.Join(cache, "systemd-5.tree")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	unlock, err := lock(filepath.Join(cache, ".lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(tree); err == nil {
		return tree, nil
	}
	if _, err := exec.LookPath("mmdebstrap"); err != nil {
		return "", fmt.Errorf("%w: %w", ErrNoTree, err)
	}
	if err := os.RemoveAll(tree + ".new"); err != nil {
		return "", err
	}
	args := []string{"--variant=minbase", "--quiet", "--include=" + packages}
	for _, opt := range []string{
		"force-unsafe-io", "path-exclude=/usr/share/doc/*", "path-exclude=/usr/share/man/*",
		"path-exclude=/usr/share/locale/*", "path-exclude=/usr/share/info/*",
	} {
		args = append(args, "--dpkgopt="+opt)
	}
	if out, err := exec.Command("mmdebstrap", append(args, "bookworm", tree+".new")...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("make tree of Debian: mmdebstrap: %w\n%s", err, out)
	}
	if err := furnish(tree + ".new"); err != nil {
		return "", err
	}
	return tree, os.Rename(tree+".new", tree)
}

// furnish masks what has nothing to do on a host without a console, a disk or a network, and costs the boot time.
func furnish(tree string) error {
	for _, unit := range []string{
		"console-getty.service", "getty@.service", "getty-static.service", "systemd-logind.service", "systemd-networkd.service", "systemd-timesyncd.service",
		"e2scrub_reap.service", "e2scrub_all.timer", "systemd-update-utmp.service", "systemd-update-utmp-runlevel.service", "systemd-firstboot.service",
		"apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "systemd-modules-load.service", "systemd-remount-fs.service",
		"dev-hugepages.mount", "dev-mqueue.mount", "sys-kernel-debug.mount", "sys-kernel-tracing.mount", "sys-fs-fuse-connections.mount", "modprobe@.service",
	} {
		err := os.Symlink("/dev/null", filepath.Join(tree, "etc/systemd/system", unit))
		if err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	for _, wanted := range []string{"multi-user.target.wants/ufw.service", "multi-user.target.wants/firewalld.service",
		"multi-user.target.wants/docker.service", "multi-user.target.wants/containerd.service", "sockets.target.wants/docker.socket",
	} {
		if err := os.Remove(filepath.Join(tree, "etc/systemd/system", wanted)); err != nil {
			return fmt.Errorf("disable a service: %w", err)
		}
	}
	// What Docker does not need to run a container is a sixth of the tree.
	for _, program := range []string{"ctr", "dnet", "containerd-shim", "containerd-shim-runc-v1"} {
		if err := os.Remove(filepath.Join(tree, "usr/bin", program)); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(tree, "etc/machine-id"), []byte("8c1b5a3f5bd54c3fb2a3c1b0a6a1d2e3\n"), 0o444)
}

// lock is one for all test processes of the machine.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() { _ = f.Close() }, nil
}

package launch

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/runc/libcontainer"
)

// hybridCgroup moves this process to the app's place in the cgroup2 of a hybrid host, where what it starts will stay, and returns
// what moves it back. libcontainer does not know that place: stage1 hid the hierarchy, and had the app born in it.
func hybridCgroup(container *libcontainer.Container) (back func(), err error) {
	mount, err := hybridMount()
	if err != nil || mount == "" {
		return func() {}, err
	}
	state, err := container.State()
	if err != nil {
		return nil, err
	}
	own, err := hybridPath("self")
	if err != nil {
		return nil, err
	}
	app, err := hybridPath(fmt.Sprint(state.InitProcessPid))
	if errors.Is(err, os.ErrNotExist) {
		return nil, ErrNotRunning
	}
	if err != nil || app == own {
		return func() {}, err
	}
	home, err := os.OpenFile(filepath.Join(mount, own, "cgroup.procs"), os.O_WRONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("open own cgroup: %w", err)
	}
	if err := os.WriteFile(filepath.Join(mount, app, "cgroup.procs"), []byte("0"), 0); err != nil {
		return nil, errors.Join(fmt.Errorf("join the app's cgroup: %w", err), home.Close())
	}
	return func() {
		// Or the pod's end would kill us before we gave back the caller's terminal. If it fails, that is all that is lost.
		_, _ = home.WriteString("0")
		_ = home.Close()
	}, nil
}

// hybridMount is where the cgroup2 lies beside the hierarchies of v1; "" where it does not.
func hybridMount() (string, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	mount := ""
	for line := range strings.Lines(string(data)) {
		front, back, _ := strings.Cut(line, " - ")
		fields := strings.Fields(front)
		if !strings.HasPrefix(back, "cgroup2 ") || len(fields) < 5 || fields[3] != "/" {
			continue
		}
		if mount = fields[4]; mount == "/sys/fs/cgroup" {
			return "", nil // all that there is: libcontainer knows
		}
	}
	return mount, nil
}

// hybridPath is the place of a process in it.
func hybridPath(pid string) (string, error) {
	data, err := os.ReadFile(filepath.Join("/proc", pid, "cgroup"))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(data)) {
		if path, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			return path, nil
		}
	}
	return "", fmt.Errorf("read cgroup of process %s: not in any of version 2", pid)
}

package launch

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	_ "github.com/opencontainers/cgroups/devices" // device rules: libcontainer refuses to start anything without
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/specconv"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// readSpec reads a config.json. Unlike the files of package pods it is OCI's format, not ours: fields that a newer
// runtime-spec has are none of our business.
func readSpec(path string) (*specs.Spec, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	spec := &specs.Spec{}
	if err := json.Unmarshal(data, spec); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if spec.Process == nil || len(spec.Process.Args) == 0 || spec.Linux == nil {
		return nil, fmt.Errorf("read %s: no process, or nothing of Linux", path)
	}
	return spec, nil
}

// spec completes the app's template with what only the running pod knows.
func (s *start) spec() (*specs.Spec, error) {
	spec, err := readSpec(s.app.Config)
	if err != nil {
		return nil, err
	}
	if spec.Root == nil {
		spec.Root = &specs.Root{}
	}
	spec.Root.Path = s.app.Rootfs
	spec.Hostname = s.app.Hostname
	spec.Linux.CgroupsPath = s.app.Cgroup
	if s.app.Rows > 0 {
		spec.Process.ConsoleSize = &specs.Box{Height: uint(s.app.Rows), Width: uint(s.app.Columns)}
	}
	if s.app.Seccomp != nil && spec.Linux.Seccomp != nil {
		return nil, errors.New("two seccomp filters are configured")
	}
	if err := s.completeLimits(spec); err != nil {
		return nil, err
	}
	for i := range spec.Linux.Namespaces {
		n := &spec.Linux.Namespaces[i]
		if n.Type == specs.MountNamespace || n.Type == specs.CgroupNamespace {
			continue // the app's own
		}
		if n.Path = s.app.Namespaces[string(n.Type)]; n.Path == "" {
			return nil, fmt.Errorf("join %s namespace: the pod has none", n.Type) // else libcontainer would make one
		}
	}
	for _, target := range slices.Sorted(maps.Keys(s.app.Files)) {
		if slices.Contains(s.app.Yield, target) && slices.ContainsFunc(spec.Mounts, func(m specs.Mount) bool { return s.replaces(m, target) }) {
			continue
		}
		// Read-only: the file is on the host's /run, which an app could fill; and its neighbours share it.
		m := specs.Mount{
			Destination: target,
			Source:      s.app.Files[target],
			Type:        "bind",
			Options:     []string{"bind", "ro", "nosuid", "nodev", "noexec"},
		}
		if s.app.Users != nil {
			m.Options = append(m.Options, "idmap") // or they would be nobody's
		}
		spec.Mounts = append(spec.Mounts, m)
		s.bound++
	}
	return spec, nil
}

// replaces says whether m takes the place of the file that we would bind on target: it is mounted there, or it is a directory of the host that
// holds target, in which nothing of ours is to be made.
func (s *start) replaces(m specs.Mount, target string) bool {
	pod := filepath.Join(filepath.Dir(s.app.Config), "../..")
	return m.Destination == target || m.Destination == filepath.Dir(target) && m.Type == "bind" && !strings.HasPrefix(m.Source, pod+"/")
}

// setsNetwork reports whether the second stage sets what belongs to the network: of its interfaces, or over what attaching them has set.
func setsNetwork(spec *specs.Spec) bool {
	for name := range spec.Linux.Sysctl {
		if strings.HasPrefix(name, "net.") {
			return true
		}
	}
	return false
}

// containerID names an app's container. It has the pod in it because libcontainer names the session keyring after
// it, and the kernel would let two pods with an app of the same name share one.
func containerID(stateDir, app string) string {
	return filepath.Base(filepath.Dir(stateDir)) + "." + app
}

// newConfig converts spec.
func newConfig(id string, spec *specs.Spec) (*configs.Config, error) {
	config, err := specconv.CreateLibcontainerConfig(&specconv.CreateOpts{CgroupName: id, Spec: spec})
	if err != nil {
		return nil, fmt.Errorf("convert configuration: %w", err)
	}
	return config, nil
}

// create makes the container of an app; one of that name which does not run any more is removed first.
func create(stateDir, app string, config *configs.Config) (*libcontainer.Container, error) {
	id := containerID(stateDir, app)
	container, err := libcontainer.Create(stateDir, id, config)
	if errors.Is(err, libcontainer.ErrExist) { // the app is being restarted, or an earlier start was cut short
		if err := removeContainer(stateDir, id); err != nil {
			return nil, err
		}
		container, err = libcontainer.Create(stateDir, id, config)
	}
	if err != nil {
		return nil, fmt.Errorf("create container: %w", err)
	}
	return container, nil
}

// removeContainer removes what is left of a container that does not run.
func removeContainer(stateDir, id string) error {
	old, err := libcontainer.Load(stateDir, id)
	if errors.Is(err, libcontainer.ErrNotExist) { // a directory without a state: nothing was executed
		return os.RemoveAll(filepath.Join(stateDir, id))
	}
	if err == nil {
		err = old.Destroy()
	}
	if err != nil {
		return fmt.Errorf("remove earlier container: %w", err)
	}
	return nil
}

package launch

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/userns"
	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runc/libcontainer/configs"
	"golang.org/x/sys/unix"
)

// system is what may be mounted where, of the mounts that package bundle gives every app.
var system = map[string][]string{
	"/proc":          {"proc"},
	"/dev":           {"tmpfs"},
	"/dev/pts":       {"devpts"},
	"/dev/shm":       {"tmpfs", "bind"},
	"/dev/mqueue":    {"mqueue"},
	"/sys":           {"sysfs"},
	"/sys/fs/cgroup": {"cgroup"},
}

// taker takes furniture out of a configuration of libcontainer.
type taker struct {
	config *configs.Config
	root   rootDir
	f      *furniture
}

// takeFurniture takes what is plain out of config, whose last files mounts are bound on single files of the image. Whatever is odd stays with
// libcontainer, with all that comes after it: an image with a link where a directory should be, user namespaces, users' own mounts.
// What is looked at here is looked at again when it is mounted; then a link is a failure.
func takeFurniture(config *configs.Config, files int) (*furniture, error) {
	t := &taker{config: config, f: &furniture{Rootfs: config.Rootfs}}
	if config.RootPropagation != 0 || config.MountLabel != "" || config.NoPivotRoot || !config.Namespaces.Contains(configs.NEWNS) ||
		config.Namespaces.Contains(configs.NEWUSER) || userns.RunningInUserNS() {
		return t.f, nil
	}
	bound := config.Mounts[len(config.Mounts)-files:]
	others := config.Mounts[:len(config.Mounts)-files]
	// A volume with the app's own root in it would have all of this twice: libcontainer's copy of the root covers what is mounted there.
	if slices.ContainsFunc(others, func(m *configs.Mount) bool { return m.IsBind() && within(config.Rootfs, m.Source) }) {
		return t.f, nil
	}
	var err error
	if t.root, err = openRoot(config.Rootfs); err != nil {
		return nil, err
	}
	defer t.root.close()
	for len(others) > 0 && t.isSystem(others[0]) {
		if err := t.take(others[0]); err != nil {
			return nil, err
		}
		others = others[1:]
	}
	aside := len(t.f.Mounts) > 0 && t.aside(others)
	if aside && !slices.ContainsFunc(others, func(m *configs.Mount) bool { return within(m.Destination, "/etc") }) && t.areFiles(bound) {
		for _, m := range bound {
			t.add(m, true)
		}
		bound = nil
	}
	config.Mounts = slices.Concat(others, bound)
	if aside {
		t.fillDev(others)
	}
	return t.f, nil
}

// isSystem reports whether m is one of the system's, on a directory of the image, or nothing at all, where nothing but us has mounted yet.
func (t *taker) isSystem(m *configs.Mount) bool {
	if !slices.Contains(system[m.Destination], m.Device) || t.has(m.Destination) || !isSimple(m) {
		return false
	}
	switch m.Device {
	case "cgroup":
		if cgroups.IsCgroup2UnifiedMode() || !t.config.Namespaces.Contains(configs.NEWCGROUP) {
			return false
		}
	case "tmpfs":
		if !strings.Contains(m.Data, "mode=") || m.Flags&unix.MS_RDONLY != 0 { // else it has the mode of what it covers; or it becomes read-only last
			return false
		}
	case "bind":
		if info, err := os.Stat(m.Source); err != nil || !info.IsDir() {
			return false
		}
	}
	return t.has(path.Dir(m.Destination)) || t.has("/sys") && m.Device == "cgroup" || t.isPlain(m.Destination, unix.S_IFDIR)
}

// isSimple: what mount(2) alone can do.
func isSimple(m *configs.Mount) bool {
	return m.RecAttr == nil && m.Extensions == 0 && m.IDMapping == nil && m.ClearedFlags == 0
}

// has reports whether a mount was taken.
func (t *taker) has(target string) bool {
	return slices.ContainsFunc(t.f.Mounts, func(p piece) bool { return p.Target == target })
}

// isPlain reports whether target, in the image, is of this kind or not there at all, without a link on the way.
func (t *taker) isPlain(target string, kind uint32) bool {
	fd, err := t.root.open(target, 0)
	if err != nil {
		return errors.Is(err, unix.ENOENT)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == kind
}

// areFiles reports whether all of bound can be mounted as they are.
func (t *taker) areFiles(bound []*configs.Mount) bool {
	for _, m := range bound {
		info, err := os.Stat(m.Source)
		if err != nil || !info.Mode().IsRegular() || !isSimple(m) || m.Device != "bind" || !within(m.Destination, "/etc") || !t.isPlain(m.Destination, unix.S_IFREG) {
			return false
		}
	}
	return true
}

// aside reports whether others can neither be what we mount on nor change where that is: their targets are real, and none is on another.
func (t *taker) aside(others []*configs.Mount) bool {
	for i, m := range others {
		if !path.IsAbs(m.Destination) || path.Clean(m.Destination) != m.Destination || m.Destination == "/" {
			return false
		}
		for _, o := range others[:i] {
			if within(m.Destination, o.Destination) {
				return false
			}
		}
		fd, err := t.root.open(m.Destination, 0)
		if err == nil {
			_ = unix.Close(fd)
		} else if !errors.Is(err, unix.ENOENT) {
			return false
		}
	}
	return true
}

// within reports whether path is dir or below it.
func within(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

func (t *taker) add(m *configs.Mount, file bool) {
	t.f.Mounts = append(t.f.Mounts, piece{
		Target: m.Destination, Source: m.Source, Type: m.Device, Data: m.Data, Flags: m.Flags, Propagation: m.PropagationFlags, File: file,
	})
}

// take adds m, and what belongs to it.
func (t *taker) take(m *configs.Mount) error {
	if m.Device != "cgroup" {
		t.add(m, false)
		return nil
	}
	return t.takeCgroups(m)
}

// takeCgroups adds the hierarchies of cgroup v1 as libcontainer mounts them: each by its own name in a tmpfs, in the app's cgroup namespace.
func (t *taker) takeCgroups(m *configs.Mount) error {
	hierarchies, err := cgroups.GetCgroupMounts(false)
	if err != nil {
		return fmt.Errorf("read cgroup mounts: %w", err)
	}
	const safe = unix.MS_NOEXEC | unix.MS_NOSUID | unix.MS_NODEV
	t.f.Mounts = append(t.f.Mounts, piece{Target: m.Destination, Source: "tmpfs", Type: "tmpfs", Data: "mode=755", Flags: safe, Propagation: m.PropagationFlags})
	links := dir{Path: m.Destination}
	for _, h := range hierarchies {
		name := filepath.Base(h.Mountpoint)
		p := piece{Target: path.Join(m.Destination, name), Source: "cgroup", Type: "cgroup", Data: name, Flags: safe | m.Flags&unix.MS_RDONLY}
		if name == "systemd" {
			p.Source, p.Data = name, cgroups.CgroupNamePrefix+name
		}
		t.f.Mounts = append(t.f.Mounts, p)
		if strings.Contains(name, ",") {
			for one := range strings.SplitSeq(name, ",") {
				links.Links = append(links.Links, link{one, name})
			}
		}
	}
	if len(links.Links) > 0 {
		t.f.Dirs = append(t.f.Dirs, links)
	}
	return nil
}

package launch

import (
	"os"
	"path"
	"slices"

	"github.com/opencontainers/cgroups/devices/config"
	"github.com/opencontainers/runc/libcontainer/configs"
	"golang.org/x/sys/unix"
)

// devLinks are in every /dev, as libcontainer makes them.
var devLinks = []link{
	{"ptmx", "pts/ptmx"}, {"fd", "/proc/self/fd"}, {"stdin", "/proc/self/fd/0"}, {"stdout", "/proc/self/fd/1"}, {"stderr", "/proc/self/fd/2"},
}

// fillDev takes what is in /dev: devices and links, unless others are mounted there, or a device is anywhere else.
func (t *taker) fillDev(others []*configs.Mount) {
	at := slices.IndexFunc(t.f.Mounts, func(p piece) bool { return p.Target == "/dev" })
	if at < 0 || slices.ContainsFunc(others, func(m *configs.Mount) bool { return within(m.Destination, "/dev") }) {
		return
	}
	dev := dir{Path: "/dev", Links: slices.Clone(devLinks)}
	if _, err := os.Stat("/proc/kcore"); err == nil { // else this kernel has none
		dev.Links = append(dev.Links, link{"core", "/proc/kcore"})
	}
	for _, d := range t.config.Devices {
		n, ok := t.newNode(d)
		if !ok || slices.ContainsFunc(dev.Links, func(l link) bool { return l.Name == n.Name }) {
			return
		}
		dev.Nodes = append(dev.Nodes, n)
	}
	t.f.Dirs = append(t.f.Dirs, dev)
	t.config.Devices = nil // their rules are among the limits
	// libcontainer would look after /dev but for a bind mount there. This one changes nothing.
	t.config.Mounts = append(t.config.Mounts, &configs.Mount{
		Destination: "/dev", Source: "/dev", Device: "bind", Flags: unix.MS_BIND | unix.MS_REMOUNT | t.f.Mounts[at].Flags,
	})
}

// newNode converts a device that is right in /dev, and no mount of ours.
func (t *taker) newNode(d *config.Device) (node, bool) {
	kinds := map[config.Type]uint32{config.BlockDevice: unix.S_IFBLK, config.CharDevice: unix.S_IFCHR, config.FifoDevice: unix.S_IFIFO}
	number, err := d.Mkdev()
	if err != nil || kinds[d.Type] == 0 || path.Clean(d.Path) != d.Path || path.Dir(d.Path) != "/dev" || t.has(d.Path) {
		return node{}, false
	}
	return node{
		Name: path.Base(d.Path), Mode: kinds[d.Type] | uint32(d.FileMode), Device: int(number), UID: int(d.Uid), GID: int(d.Gid),
	}, true
}

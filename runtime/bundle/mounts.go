package bundle

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantryrun/gantry/pods"
)

// VolumeDir is the directory of the empty volume name, below the pod's.
func VolumeDir(name string) string { return pods.VolumePath(name) }

// ShmVolume is the /dev/shm of a pod whose apps share their IPC namespace, and so POSIX shared memory too. No user can give a volume this
// name.
func ShmVolume() Volume {
	return Volume{Name: shmName, Kind: KindTmpfs, Shared: true, Size: 64 << 20, Mode: 0o1777}
}

const shmName = ".shm"

// shmMount is /dev/shm: that of the host or of the pod where the app shares the IPC namespace, else its own.
func shmMount(p Pod) specs.Mount {
	options := []string{"nosuid", "noexec", "nodev"}
	if p.HostIPC {
		return specs.Mount{Destination: "/dev/shm", Type: "bind", Source: "/dev/shm", Options: append(options, "bind", "rslave")}
	}
	if v, ok := findVolume(shmName, p.Volumes); ok {
		return specs.Mount{Destination: "/dev/shm", Type: "bind", Source: filepath.Join(p.Path, VolumeDir(v.Name)), Options: append(options, "bind", "rprivate")}
	}
	return specs.Mount{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: append(options, "mode=1777", "size=65536k")}
}

// systemMounts are what every Linux program expects. /sys of a pod with the host's network is the host's, read-only.
func systemMounts(p Pod) []specs.Mount {
	if p.Chroot {
		return hostMounts()
	}
	return []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "noexec", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		shmMount(p),
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev", "relatime", "ro"}},
	}
}

// mounts are the system's, then the user's, parents before children, whatever order they were given in. The second
// result is the volumes that the image asks for and the user did not name.
func mounts(in Input) ([]specs.Mount, []Volume, error) {
	implicit, places := imageVolumes(in)
	places = slices.Concat(places, in.Pod.Mounts, in.App.Mounts)
	var own []specs.Mount
	at := map[string]int{}
	add := func(m specs.Mount) {
		if i, ok := at[m.Destination]; ok { // an app's mount replaces the pod's or the image's at the same place
			own[i] = m
			return
		}
		at[m.Destination] = len(own)
		own = append(own, m)
	}
	for _, m := range places {
		m.ReadOnly = m.ReadOnly || placeAt(in.App.Places, m.Target).ReadOnly // what appc says holds, whoever says what goes there
		v, ok := findVolume(m.Volume, in.Pod.Volumes, implicit)
		if !ok {
			return nil, nil, fmt.Errorf("mount at %s: there is no volume %q: say --volume=%s,kind=…", m.Target, m.Volume, m.Volume)
		}
		vm := volumeMount(in.Pod.Path, v, m)
		if !v.Shared { // stage1 makes that for the pod's users
			vm = mapUsers(in.Pod, vm)
		}
		add(vm)
	}
	for _, t := range in.App.Tmpfs {
		add(tmpfsMount(t))
	}
	if in.Pod.Users {
		for _, d := range in.App.Devices {
			add(deviceMount(d))
		}
	}
	implicit = slices.DeleteFunc(implicit, func(v Volume) bool {
		i := at[v.From]
		return own[i].Source != filepath.Join(in.Pod.Path, VolumeDir(v.Name)) // something else was put there
	})
	slices.SortStableFunc(own, func(a, b specs.Mount) int {
		return cmp.Compare(strings.Count(a.Destination, "/"), strings.Count(b.Destination, "/"))
	})
	return slices.Concat(systemMounts(in.Pod), own), implicit, nil
}

func findVolume(name string, lists ...[]Volume) (Volume, bool) {
	for _, list := range lists {
		if i := slices.IndexFunc(list, func(v Volume) bool { return v.Name == name }); i >= 0 {
			return list[i], true
		}
	}
	return Volume{}, false
}

// imageVolumes gives each of the image's VOLUMEs an empty volume of the app's own: two databases in one pod must not share
// their data. A volume of the pod with the name that the image has for it, or called volume-PATH, as rkt named it, takes the place of it.
func imageVolumes(in Input) ([]Volume, []Mount) {
	var volumes []Volume
	var mounts []Mount
	for _, p := range slices.Sorted(maps.Keys(in.Image.Config.Volumes)) {
		target, err := cleanTarget(path.Join("/", p)) // joined from the root: "/../../etc" stays inside
		if err != nil {
			continue
		}
		name, place := "volume-"+slug(target), placeAt(in.App.Places, p)
		if _, ok := findVolume(place.Name, in.Pod.Volumes); ok {
			name = place.Name
		}
		if _, ok := findVolume(name, in.Pod.Volumes); !ok {
			name = freeName(in, volumes, target)
			volumes = append(volumes, Volume{Name: name, Kind: KindEmpty, From: target})
		}
		mounts = append(mounts, Mount{Volume: name, Target: target, ReadOnly: place.ReadOnly})
	}
	return volumes, mounts
}

// freeName is one that no volume has: neither of others, the app's own, nor of the pod, one of an app that was removed, say.
func freeName(in Input, others []Volume, target string) string {
	for n := len(others); ; n++ {
		name := fmt.Sprintf("%s-%d-%s", clipName(in.App.Name), n, slug(target))
		name = name[:min(len(name), 63)]
		if _, taken := findVolume(name, in.Pod.Volumes, others); !taken {
			return name
		}
	}
}

func placeAt(places []Place, path string) Place {
	for _, p := range places {
		if p.Path == path {
			return p
		}
	}
	return Place{}
}

// clipName is what of an app's name is in its volumes' names: of a long one its beginning, and a number that tells it from others that begin so.
func clipName(s string) string {
	if len(s) <= 20 {
		return s
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(s))
	return fmt.Sprintf("%s-%08x", s[:11], h.Sum32())
}

func volumeMount(podPath string, v Volume, m Mount) specs.Mount {
	readOnly := v.ReadOnly || m.ReadOnly
	kind := v.Kind
	if v.Shared {
		kind = KindEmpty // with a tmpfs on it
	}
	switch kind {
	case KindTmpfs:
		t := Tmpfs{Target: m.Target}
		if v.Size > 0 {
			t.Options = append(t.Options, "size="+strconv.FormatInt(v.Size, 10))
		}
		if v.Mode != 0 {
			t.Options = append(t.Options, fmt.Sprintf("mode=%o", v.Mode))
		}
		if v.UID != 0 || v.GID != 0 {
			t.Options = append(t.Options, fmt.Sprintf("uid=%d", v.UID), fmt.Sprintf("gid=%d", v.GID))
		}
		if readOnly {
			t.Options = append(t.Options, "ro")
		}
		return tmpfsMount(t)
	case KindEmpty:
		out := specs.Mount{Destination: m.Target, Type: "bind", Source: filepath.Join(podPath, VolumeDir(v.Name)),
			Options: []string{"bind", "nosuid", "nodev", "rprivate"}}
		if readOnly {
			out.Options = append(out.Options, "ro")
		}
		return out
	}
	// Slave: what the host unmounts below the source goes away in the pod too, instead of being pinned.
	bind, ro := "rbind", "rro"
	if v.NonRecursive {
		bind, ro = "bind", "ro"
	}
	source, propagation := v.Source, "rslave"
	switch v.Propagation {
	case "private":
		propagation = "rprivate"
	case pods.PropagationShared: // the host's own mount is there: what is in our mount namespace is a slave of it
		source, propagation = filepath.Join(podPath, VolumeDir(v.Name)), "rshared"
	}
	out := specs.Mount{Destination: m.Target, Type: "bind", Source: source, Options: []string{bind, propagation}}
	if readOnly {
		out.Options = append(out.Options, ro)
	}
	return out
}

// mapUsers has the files of a bind mount belong to the pod's users: what is 0's on the host is 0's in the pod.
func mapUsers(p Pod, m specs.Mount) specs.Mount {
	switch {
	case !p.Users || m.Type != "bind":
	case slices.Contains(m.Options, "rbind"):
		m.Options = append(m.Options, "ridmap")
	default:
		m.Options = append(m.Options, "idmap")
	}
	return m
}

// deviceMount gives a device to an app with a user namespace, in which nobody may make one.
func deviceMount(d Device) specs.Mount {
	return specs.Mount{Destination: d.Target, Type: "bind", Source: d.Source, Options: []string{"bind", "nosuid", "noexec", "rprivate"}}
}

func tmpfsMount(t Tmpfs) specs.Mount {
	options := []string{"nosuid", "nodev"}
	if !slices.ContainsFunc(t.Options, func(o string) bool { return strings.HasPrefix(o, "mode=") }) {
		options = append(options, "mode=1777")
	}
	return specs.Mount{Destination: t.Target, Type: "tmpfs", Source: "tmpfs", Options: append(options, t.Options...)}
}

package launch

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runc/libcontainer/configs"
	"golang.org/x/sys/unix"

	"github.com/opencontainers/runtime-spec/specs-go"
)

const (
	allSystem = "/proc /dev /dev/pts /dev/shm /dev/mqueue /sys"
	allFiles  = " /etc/hostname /etc/hosts"
)

// plainEdit changes the image, or the configuration, of an app for which nothing special was asked.
type plainEdit func(rootfs string, c *configs.Config) error

func put(made func(path string) error, path string) plainEdit {
	return func(rootfs string, _ *configs.Config) error {
		if err := os.RemoveAll(filepath.Join(rootfs, path)); err != nil {
			return err
		}
		return made(filepath.Join(rootfs, path))
	}
}

func putLink(path string) error { return os.Symlink("/", path) }
func putFile(path string) error { return os.WriteFile(path, nil, 0o644) }
func putFIFO(path string) error { return unix.Mkfifo(path, 0o644) }
func putDir(path string) error  { return os.Mkdir(path, 0o755) }

// configure calls edit.
func configure(edit func(*configs.Config)) plainEdit {
	return func(_ string, c *configs.Config) error {
		edit(c)
		return nil
	}
}

// mounted adds mounts of the user's, before the files.
func mounted(mounts ...configs.Mount) plainEdit {
	return configure(func(c *configs.Config) {
		for i := range mounts {
			c.Mounts = slices.Insert(c.Mounts, len(c.Mounts)-2, &mounts[i])
		}
	})
}

func tmpfsAt(target string) configs.Mount {
	return configs.Mount{Device: "tmpfs", Source: "tmpfs", Destination: target, Data: "mode=755"}
}

func volumeOf(source string) configs.Mount {
	return configs.Mount{Device: "bind", Flags: unix.MS_BIND, Source: source, Destination: "/data"}
}

func device(path string) plainEdit {
	return configure(func(c *configs.Config) {
		own := *c.Devices[0]
		own.Path = path
		c.Devices = append(c.Devices, &own)
	})
}

type plainCase struct {
	name  string
	edit  plainEdit
	taken string
	dev   bool // with all that is in it
}

func plainCases() []plainCase {
	return []plainCase{
		{"plain", nil, allSystem + " CGROUPS" + allFiles, true},
		{"nothing there", put(putDir, "."), allSystem + " CGROUPS" + allFiles, true},
		{"files there", put(putFile, "etc/hosts"), allSystem + " CGROUPS" + allFiles, true},
		{"/proc is a link", put(putLink, "proc"), "", false},
		{"/dev is a link", put(putLink, "dev"), "/proc", false},
		{"/dev is a file", put(putFile, "dev"), "/proc", false},
		{"/dev is a FIFO", put(putFIFO, "dev"), "/proc", false},
		{"/dev/shm is a link", put(putLink, "dev/shm"), allSystem + " CGROUPS" + allFiles, true}, // below ours
		{"/sys is a link", put(putLink, "sys"), "/proc /dev /dev/pts /dev/shm /dev/mqueue", false},
		{"/etc is a link", put(putLink, "etc"), allSystem + " CGROUPS", true},
		{"/etc/hosts is a link", put(putLink, "etc/hosts"), allSystem + " CGROUPS", true},
		{"/etc/hosts is a FIFO", put(putFIFO, "etc/hosts"), allSystem + " CGROUPS", true},
		{"/etc/hosts is a directory", put(putDir, "etc/hosts"), allSystem + " CGROUPS", true},
		{"mount elsewhere", mounted(tmpfsAt("/data"), tmpfsAt("/srv/web")), allSystem + " CGROUPS" + allFiles, true},
		{"mount on a mount", mounted(tmpfsAt("/data"), tmpfsAt("/data/below")), allSystem + " CGROUPS", false},
		{"mount on /etc", mounted(tmpfsAt("/etc")), allSystem + " CGROUPS", true},
		{"mount on /dev", mounted(tmpfsAt("/dev")), allSystem + " CGROUPS" + allFiles, false},
		{"mount in /dev", mounted(tmpfsAt("/dev/stdin")), allSystem + " CGROUPS" + allFiles, false},
		{"mount on /dev/shm", mounted(tmpfsAt("/dev/shm")), allSystem + " CGROUPS" + allFiles, false},
		{"mount through a link", func(rootfs string, c *configs.Config) error {
			return errors.Join(putLink(filepath.Join(rootfs, "way")), mounted(tmpfsAt("/way/dev"))(rootfs, c))
		}, allSystem + " CGROUPS", false},
		{"mount not clean", mounted(tmpfsAt("/data/../etc")), allSystem + " CGROUPS", false},
		{"device", device("/dev/fuse"), allSystem + " CGROUPS" + allFiles, true},
		{"device in a directory", device("/dev/net/tun"), allSystem + " CGROUPS" + allFiles, false},
		{"device elsewhere", device("/srv/null"), allSystem + " CGROUPS" + allFiles, false},
		{"device for a link", device("/dev/ptmx"), allSystem + " CGROUPS" + allFiles, false},
		{"device for a mount", device("/dev/shm"), allSystem + " CGROUPS" + allFiles, false},
		{"device twice", device("/dev/null"), allSystem + " CGROUPS" + allFiles, true},
		{"users of the pod's own", configure(func(c *configs.Config) { c.Namespaces.Add(configs.NEWUSER, "") }), "", false},
		{"shared mounts", configure(func(c *configs.Config) { c.RootPropagation = unix.MS_SHARED | unix.MS_REC }), "", false},
		{"files of mapped users", configure(func(c *configs.Config) { c.Mounts[len(c.Mounts)-1].IDMapping = &configs.MountIDMapping{} }), allSystem + " CGROUPS", true},
		{"volume with the app itself in it", func(rootfs string, c *configs.Config) error {
			return mounted(volumeOf(filepath.Dir(rootfs)))(rootfs, c)
		}, "", false},
		{"volume of the host's root", mounted(volumeOf("/")), "", false},
		{"chroot", configure(func(c *configs.Config) {
			c.Mounts[0] = &configs.Mount{Device: "bind", Source: "/proc", Destination: "/proc"}
		}), "", false},
	}
}

// TestTakeFurniture: what is plain is ours, and anything else libcontainer's, with what comes after it.
func TestTakeFurniture(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("skipped: makes devices, which needs root")
	}
	for _, tc := range plainCases() {
		t.Run(tc.name, func(t *testing.T) {
			rootfs := t.TempDir()
			for _, name := range []string{"proc", "dev", "sys", "etc"} {
				if err := os.Mkdir(filepath.Join(rootfs, name), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			c := plainConfig(t, rootfs)
			if tc.edit != nil {
				if err := tc.edit(rootfs, c); err != nil {
					t.Fatal(err)
				}
			}
			all, devices := slices.Clone(c.Mounts), len(c.Devices)
			f, err := takeFurniture(c, 2)
			if err != nil {
				t.Fatal(err)
			}
			var taken, want []string
			for _, p := range f.Mounts {
				if !strings.HasPrefix(p.Target, "/sys/fs/cgroup/") {
					taken = append(taken, p.Target)
				}
			}
			for _, target := range strings.Fields(tc.taken) {
				if target != "CGROUPS" {
					want = append(want, target)
				} else if !cgroups.IsCgroup2UnifiedMode() {
					want = append(want, "/sys/fs/cgroup")
				}
			}
			if diff := cmp.Diff(want, taken); diff != "" {
				t.Errorf("taken:\n%s", diff)
			}
			all = slices.DeleteFunc(all, func(m *configs.Mount) bool {
				return slices.Contains(taken, m.Destination) && m.Destination != "/dev/shm" && m.Destination != "/dev"
			})
			left := slices.DeleteFunc(slices.Clone(c.Mounts), func(m *configs.Mount) bool { return m.Destination == "/dev/shm" || m.Destination == "/dev" })
			all = slices.DeleteFunc(all, func(m *configs.Mount) bool { return m.Destination == "/dev/shm" || m.Destination == "/dev" })
			if !slices.Equal(all, left) {
				t.Errorf("%d mounts of %d are left to libcontainer", len(left), len(all))
			}
			if (len(c.Devices) == 0) != tc.dev || (len(c.Devices) == devices) == tc.dev {
				t.Errorf("%d devices of %d are left to libcontainer", len(c.Devices), devices)
			}
		})
	}
}

// plainConfig is what an app gets of which nothing special is asked.
func plainConfig(t *testing.T, rootfs string) *configs.Config {
	t.Helper()
	bind := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(bind, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := newConfig("test", &specs.Spec{
		Root:    &specs.Root{Path: rootfs},
		Process: &specs.Process{Args: []string{"true"}},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"mode=755"}},
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts"},
			{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"mode=1777"}},
			{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue"},
			{Destination: "/sys", Type: "sysfs", Source: "sysfs"},
			{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup"},
			{Destination: "/etc/hostname", Type: "bind", Source: bind, Options: []string{"bind", "ro"}},
			{Destination: "/etc/hosts", Type: "bind", Source: bind, Options: []string{"bind", "ro"}},
		},
		Linux: &specs.Linux{Namespaces: []specs.LinuxNamespace{{Type: specs.MountNamespace}, {Type: specs.CgroupNamespace}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

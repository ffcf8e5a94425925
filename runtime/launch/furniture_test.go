package launch_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// look prints all that an app can see of its mounts, and of what is in them.
const look = `b() { /bin/busybox "$@"; }
b sed 's/^[0-9]* [0-9]* //; s/[0-9]*:[0-9]* //' /proc/self/mountinfo | b sort
b find /dev /sys/fs/cgroup -maxdepth 1 | b sort | while read -r f; do b stat -c '%n %a %u %g %F %t:%T' "$f"; b readlink "$f"; done
b stat -c '%n %a %u %g %F' / /dev/pts/* /etc /etc/* /proc /sys /tmp
b grep -E '^(Umask|Cap|NoNewPrivs|Groups|Sig[BIC])' /proc/self/status
b cat /proc/self/cgroup
b readlink /proc/self/fd/0
umask`

func mountAt(target, kind, source string, options ...string) func(*specs.Spec) {
	return func(s *specs.Spec) {
		s.Mounts = append(s.Mounts, specs.Mount{Destination: target, Type: kind, Source: source, Options: options})
	}
}

// TestFurnitureIsLibcontainers: an app sees the same whether we mount what is plain, or libcontainer everything.
func TestFurnitureIsLibcontainers(t *testing.T) {
	link := func(target, path string) func(*testing.T, string) {
		return func(t *testing.T, rootfs string) {
			at := filepath.Join(rootfs, path)
			if err := os.Remove(at); err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			if err := os.Symlink(target, at); err != nil {
				t.Fatal(err)
			}
		}
	}
	without := func(names ...string) func(*testing.T, string) {
		return func(t *testing.T, rootfs string) {
			for _, name := range names {
				if err := os.Remove(filepath.Join(rootfs, name)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	for _, tc := range []struct {
		name  string
		image func(t *testing.T, rootfs string)
		edit  func(*specs.Spec)
	}{
		{"plain", nil, nil},
		{"nothing there", without("dev", "proc", "sys"), nil},
		{"read-only root", nil, func(s *specs.Spec) { s.Root = &specs.Root{Readonly: true} }},
		{"user", nil, func(s *specs.Spec) { s.Process.User = specs.User{UID: 1000, GID: 1001} }},
		{"tmpfs", nil, mountAt("/data", "tmpfs", "tmpfs", "nosuid", "mode=1777")},
		{"tmpfs on /dev", nil, mountAt("/dev", "tmpfs", "tmpfs", "nosuid", "mode=755")},
		{"tmpfs on /dev/shm", nil, mountAt("/dev/shm", "tmpfs", "tmpfs", "nosuid", "size=4k")},
		{"tmpfs on a name in /dev", nil, mountAt("/dev/stdin", "tmpfs", "tmpfs", "nosuid")},
		{"tmpfs on /sys", nil, mountAt("/sys", "tmpfs", "tmpfs", "nosuid", "mode=755")},
		{"tmpfs on /etc", nil, mountAt("/etc", "tmpfs", "tmpfs", "nosuid", "mode=755")},
		{"bind mount of a device", nil, mountAt("/dev/null", "bind", "/dev/zero", "bind")},
		{"bind mount, recursive and read-only", nil, mountAt("/data", "bind", "/sys/fs", "rbind", "rro", "rslave")},
		{"link to a mount of ours", link("/etc", "other"), mountAt("/other", "tmpfs", "tmpfs", "nosuid", "mode=755")},
		{"device", nil, func(s *specs.Spec) {
			owner, mode := uint32(7), os.FileMode(0o620)
			s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/fuse", Type: "c", Major: 10, Minor: 229, FileMode: &mode, UID: &owner, GID: &owner}}
		}},
		{"device in a directory", nil, func(s *specs.Spec) {
			s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/net/tun", Type: "c", Major: 10, Minor: 200}}
		}},
		{"device elsewhere", nil, func(s *specs.Spec) {
			s.Linux.Devices = []specs.LinuxDevice{{Path: "/srv/fuse", Type: "c", Major: 10, Minor: 229}}
		}},
		{"device in place of a link", nil, func(s *specs.Spec) {
			s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/fd", Type: "c", Major: 1, Minor: 3}}
		}},
		{"link for /dev", link("/tmp", "dev"), nil},
		{"link for /sys", link("../../tmp", "sys"), nil},
		{"link for a file", link("/tmp/hosts", "etc/hosts"), nil},
		{"shared memory of the pod", nil, func(s *specs.Spec) {
			s.Mounts[3] = specs.Mount{Destination: "/dev/shm", Type: "bind", Source: "/dev/shm", Options: []string{"nosuid", "noexec", "nodev", "bind", "rslave"}}
		}},
		{"no cgroup namespace", nil, func(s *specs.Spec) {
			s.Linux.Namespaces = slices.DeleteFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == "cgroup" })
			s.Mounts = s.Mounts[:len(s.Mounts)-1] // its paths would be those of the launcher
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var ours, libcontainers string
			t.Run("ours", func(t *testing.T) { ours = seenBy(t, tc.image, tc.edit, false) }) // a pod each, which ends before the next
			t.Run("libcontainer's", func(t *testing.T) { libcontainers = seenBy(t, tc.image, tc.edit, true) })
			if refused := strings.Contains(ours, "must be mounted on ordinary directory"); !refused && !strings.Contains(ours, "/dev/") {
				t.Fatalf("the app says %q", ours)
			}
			if diff := cmp.Diff(strings.Split(libcontainers, "\n"), strings.Split(ours, "\n")); diff != "" {
				t.Errorf("libcontainer's, ours:\n%s", diff)
			}
		})
	}
}

// seenBy returns what an app sees in a pod of its own. Where libcontainer mounts everything, that is because a path is not written as we like it.
func seenBy(t *testing.T, image func(*testing.T, string), edit func(*specs.Spec), libcontainers bool) string {
	t.Helper()
	p := newPod(t)
	if image != nil {
		image(t, p.rootfs())
	}
	app := p.app("app", func(s *specs.Spec) {
		if edit != nil {
			edit(s)
		}
		if libcontainers {
			s.Mounts[0].Destination += "/"
		}
	}, "sh", "-c", look)
	app.Files = map[string]string{}
	for _, name := range []string{"hosts", "hostname", "resolv.conf"} {
		source := filepath.Join(p.dir, name)
		p.must(os.WriteFile(source, []byte("of the pod\n"), 0o644))
		app.Files["/etc/"+name] = source
	}
	_, out := p.runApp(app)
	if out == "" {
		t.Fatal("the app says nothing")
	}
	return strings.NewReplacer(p.dir, "DIR", p.cgroup, "CGROUP").Replace(out)
}

// TestFurnitureOfRestart: what an earlier start of the app has mounted is nowhere any more.
func TestFurnitureOfRestart(t *testing.T) {
	p := newPod(t)
	before := mountsOf(t, "self")
	_, first := p.run(nil, "sh", "-c", look)
	for range 2 {
		if _, again := p.run(nil, "sh", "-c", look); again != first {
			t.Errorf("first, again:\n%s", cmp.Diff(strings.Split(first, "\n"), strings.Split(again, "\n")))
		}
	}
	if diff := cmp.Diff(before, mountsOf(t, "self")); diff != "" {
		t.Errorf("mounted outside of the app:\n%s", diff)
	}
}

func mountsOf(t *testing.T, pid string) []string {
	t.Helper()
	data, err := os.ReadFile("/proc/" + pid + "/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	var below []string // others mount as well, elsewhere
	for line := range strings.Lines(string(data)) {
		if strings.Contains(line, os.TempDir()) {
			below = append(below, line)
		}
	}
	return below
}

// TestFurnitureFails: the second stage says itself what it could not mount.
func TestFurnitureFails(t *testing.T) {
	p := newPod(t)
	code, out := p.run(func(s *specs.Spec) { s.Mounts[1].Options = append(s.Mounts[1].Options, "nonesuch=1") }, "true")
	if code != 254 || out != "mount tmpfs on /dev: invalid argument" {
		t.Errorf("got exit code %d and %q", code, out)
	}
	p.wantNothing(t, "app")
}

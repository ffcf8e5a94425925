package hostile

import (
	"fmt"
	"strings"
	"sync"

	"github.com/gantryrun/gantry/tests/craft"
	"github.com/gantryrun/gantry/tests/ociimage"
)

// userland is a layer with busybox in it.
var userland = sync.OnceValues(func() (craft.Layer, error) {
	entries, err := ociimage.BusyboxEntries()
	if err != nil {
		return craft.Layer{}, err
	}
	tar, err := ociimage.Tar(entries...)
	if err != nil {
		return craft.Layer{}, err
	}
	return craft.Gzipped(tar), nil
})

// running serves an image with a userland under what is hostile, and returns the arguments that run it.
func (k *kit) running(config craft.Object, flags, command []string, entries ...craft.Entry) []string {
	k.Helper()
	base, err := userland()
	if err != nil {
		k.Skipf("skipped: %v", err)
	}
	if config == nil {
		config = craft.Object{}
	}
	if config["Env"] == nil {
		config["Env"] = []string{"PATH=/bin"}
	}
	layers := []craft.Layer{base}
	if len(entries) > 0 {
		layers = append(layers, craft.Gzipped(craft.Archive(entries...)))
	}
	k.site.Put("hostile", "1", craft.NewImage(config, layers...))
	args := append([]string{"run", "--net=none"}, flags...)
	if len(command) > 0 {
		return append(append(args, k.ref(), "--"), command...)
	}
	return append(args, k.ref())
}

// confinement is what the kernel holds an app to.
const confinement = "grep -E '^(Cap|NoNewPrivs|Seccomp)' /proc/self/status; id -u; echo $NOTIFY_SOCKET; ls /proc/self/fd | wc -l"

var plainConfinement sync.Map // by host: what an image that asks for nothing gets

// control is F10: what an image says of itself does not loosen what holds it.
func control() (all []attack) {
	long := strings.Repeat("x", 100_000)
	for name, config := range map[string]craft.Object{
		"labels of gantry's":    {"Labels": craft.Object{"run.gantry.caps": "CAP_SYS_ADMIN", "run.gantry.privileged": "true", "gantry.insecure": "all", "run.gantry.appc.isolators": `[{"name":"os/linux/capabilities-retain-set","value":{"set":["CAP_SYS_ADMIN"]}}]`}},
		"isolators, all":        {"Labels": craft.Object{"run.gantry.appc.isolators": `[{"name":"os/linux/no-new-privileges","value":false},{"name":"os/linux/seccomp-retain-set","value":{"set":["@appc.io/all"]}},{"name":"os/linux/oom-score-adj","value":-1000}]`}},
		"labels of systemd's":   {"Labels": craft.Object{"systemd.unit": "[Service]\nUser=root", "io.systemd.Delegate": "yes"}},
		"labels of others":      {"Labels": craft.Object{"io.kubernetes.cri.privileged": "true", "com.docker.security": "none", "annotation.seccomp.security.alpha.kubernetes.io/pod": "unconfined"}},
		"environment, NOTIFY":   {"Env": []string{"PATH=/bin", "NOTIFY_SOCKET=/run/systemd/notify", "LISTEN_FDS=9", "LISTEN_PID=1", "WATCHDOG_USEC=1"}},
		"environment, LD":       {"Env": []string{"PATH=/bin", "LD_PRELOAD=/evil.so", "LD_LIBRARY_PATH=/", "GLIBC_TUNABLES=glibc.malloc.check=3"}},
		"environment, gantry's": {"Env": []string{"PATH=/bin", "GANTRY_DIR=/", "GANTRY_TEST_BOX=inside", "_LIBCONTAINER_INITPIPE=3", "_LIBCONTAINER_LOGPIPE=4"}},
		"environment, lines":    {"Env": []string{"PATH=/bin", "A\nB=c", "A=b\nNOTIFY_SOCKET=/x", "C=%i $X ${Y}"}},
		"environment, no name":  {"Env": []string{"PATH=/bin", "=x", "nothing", "A=" + long}},
		"stop signal":           {"StopSignal": "SIGKILL; reboot"},
		"a thousand ports":      {"ExposedPorts": craft.Object{"1-65535/tcp": craft.Object{}, "x/y": craft.Object{}, "../../etc": craft.Object{}}},
		"volumes of the host":   {"Volumes": craft.Object{"/../../../etc": craft.Object{}, "/": craft.Object{}, "/proc": craft.Object{}, "/dev": craft.Object{}}},
		"working directory":     {"WorkingDir": "/proc/self/fd/7/../../../../run/sentinel"},
		"shell and health":      {"Shell": []string{"/bin/sh"}, "Healthcheck": craft.Object{"Test": []string{"CMD", "reboot"}}, "OnBuild": []string{"RUN x"}},
	} {
		all = append(all, attack{name: name, row: "F10", precedent: "CVE-2026-53488", prepare: func(k *kit) []string {
			if _, known := plainConfinement.Load(k.dir); !known {
				r := k.host.run(k.T, k.running(nil, nil, []string{"sh", "-c", confinement})...)
				if r.code != 0 {
					k.Fatalf("a plain image does not run: %s", r.stderr)
				}
				k.must(k.T, "gc", "--grace-period=0s")
				k.must(k.T, "image", "rm", k.ref())
				plainConfinement.Store(k.dir, r.stdout)
			}
			return k.running(config, nil, []string{"sh", "-c", confinement})
		}, after: func(k *kit, r result) {
			plain, _ := plainConfinement.Load(k.dir)
			want := plain.(string)
			if strings.Contains(name, "NOTIFY") { // the variable is the image's own matter: nothing listens there
				want = strings.Replace(want, "\n\n", "\n/run/systemd/notify\n", 1)
			}
			if r.code != 254 && !tightened(want, r.stdout) {
				k.Errorf("held to %q, a plain image to %q", r.stdout, want)
			}
			if r.code != 0 && r.code != 254 {
				k.Errorf("exit code %d: %s", r.code, r.stderr)
			}
		}})
	}
	return all
}

// tightened: line by line the same, but that capabilities may be fewer.
func tightened(plain, now string) bool {
	a, b := strings.Split(plain, "\n"), strings.Split(now, "\n")
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] == b[i] {
			continue
		}
		var name, other string
		var had, has uint64
		_, err := fmt.Sscanf(a[i], "%s %x", &name, &had)
		_, err2 := fmt.Sscanf(b[i], "%s %x", &other, &has)
		if err != nil || err2 != nil || name != other || !strings.HasPrefix(name, "Cap") || has&^had != 0 {
			return false
		}
	}
	return true
}

// users is F11: numbers that are names, and names that are numbers.
func users() (all []attack) {
	for _, user := range []string{"4294967296", "4294967295", "2147483648", "18446744073709551616", "-1", "+0", "0x0", " 0", "0 ", "1000:4294967296", "1000:-1", "1000:0x0", ":", "1000:", "a:b:c", "ro ot", "root\n", "../root", "00000000000000000000"} {
		all = append(all, attack{name: fmt.Sprintf("%q", user), row: "F11", precedent: "CVE-2024-40635", prepare: func(k *kit) []string {
			evil := fmt.Sprintf("root:x:0:0::/:/bin/sh\n%s:x:0:0::/:/bin/sh\n", strings.TrimSpace(strings.Split(user, ":")[0]))
			return k.running(craft.Object{"User": user}, nil, []string{"id", "-u"},
				craft.Dir("etc"), craft.File("etc/passwd", evil), craft.File("etc/group", "root:x:0:\n4294967296:x:0:\n"))
		}, after: func(k *kit, r result) {
			// A name may be root's: the image says so itself. A number is never a name.
			if number := strings.Trim(user, "+-0123456789 ") == "" && strings.Trim(user, "0") != ""; r.code == 0 && strings.TrimSpace(r.stdout) == "0" && number {
				k.Errorf("user %q is root", user)
			}
			if r.code != 0 && r.code != 254 {
				k.Errorf("exit code %d: %s", r.code, r.stderr)
			}
		}})
	}
	return all
}

// passwd is F12: the files in which a user's name is looked up.
func passwd() (all []attack) {
	sentinel := "/run/sentinel/file"
	huge := strings.Repeat("x:x:1:1::/:/\n", 12<<20/13)
	for name, entry := range map[string]craft.Entry{
		"is a FIFO":                        craft.Fifo("etc/passwd"),
		"is a device":                      craft.Device("etc/passwd", 1, 5),
		"is a directory":                   craft.Dir("etc/passwd"),
		"is a link to the host's file":     craft.Symlink("etc/passwd", sentinel),
		"is a link up":                     craft.Symlink("etc/passwd", "../../../../../../../run/sentinel/file"),
		"is a link to itself":              craft.Symlink("etc/passwd", "passwd"),
		"is a link to /proc":               craft.Symlink("etc/passwd", "/proc/self/environ"),
		"has 12 MB":                        craft.File("etc/passwd", huge),
		"has a line of 12 MB":              craft.File("etc/passwd", strings.Repeat("x", 12<<20)),
		"has no such user":                 craft.File("etc/passwd", "root:x:0:0::/:/\n"),
		"has NULs":                         craft.File("etc/passwd", "app\x00:x:0:0::/:/\napp:x:0\n"),
		"says that the user is root, late": craft.File("etc/passwd", "app:x:4294967296:0::/:/\n"),
	} {
		precedent := "CVE-2024-9676"
		if strings.Contains(name, "MB") {
			precedent = "CVE-2026-47262"
		}
		all = append(all, attack{name: name, row: "F12", precedent: precedent, refuse: "app", prepare: func(k *kit) []string {
			return k.running(craft.Object{"User": "app"}, nil, []string{"id", "-u"}, craft.Dir("etc"), entry)
		}})
	}
	return all
}

// targets is U12: what the host puts into a pod, where the image has put something else.
func targets() (all []attack) {
	kinds := map[string]func(path string) []craft.Entry{
		"a link out": func(p string) []craft.Entry { return []craft.Entry{craft.Symlink(p, "/run/sentinel/file")} },
		"a link up": func(p string) []craft.Entry {
			return []craft.Entry{craft.Symlink(p, "../../../../../run/sentinel/dir")}
		},
		"a loop":      func(p string) []craft.Entry { return []craft.Entry{craft.Symlink(p, p)} },
		"a link to /": func(p string) []craft.Entry { return []craft.Entry{craft.Symlink(p, "/")} },
		"a FIFO":      func(p string) []craft.Entry { return []craft.Entry{craft.Fifo(p)} },
		"a hard link": func(p string) []craft.Entry { return []craft.Entry{craft.Hardlink(p, "bin/busybox")} },
		"a device":    func(p string) []craft.Entry { return []craft.Entry{craft.Device(p, 1, 8)} },
		"a file":      func(p string) []craft.Entry { return []craft.Entry{craft.File(p, "in")} },
		"a directory": func(p string) []craft.Entry { return []craft.Entry{craft.Dir(p)} },
		"a parent away": func(p string) []craft.Entry {
			return []craft.Entry{craft.Symlink(strings.Split(p, "/")[0], "/run/sentinel/dir")}
		},
	}
	for path, where := range map[string][]string{
		"etc/resolv.conf": {"a link out", "a link up", "a loop", "a FIFO", "a hard link", "a parent away"},
		"etc/hosts":       {"a link out", "a link up", "a loop", "a device", "a hard link", "a directory"},
		"etc/hostname":    {"a link out", "a link up", "a FIFO", "a hard link"},
		"etc":             {"a link out", "a link up", "a link to /", "a file"},
		"dev":             {"a link out", "a link up", "a link to /", "a FIFO", "a file", "a loop"},
		"proc":            {"a link out", "a link up", "a link to /", "a FIFO", "a file"},
		"sys":             {"a link out", "a link up", "a link to /", "a FIFO", "a file"},
		"sys/fs/cgroup":   {"a link out", "a link up", "a FIFO", "a parent away"},
		"dev/null":        {"a link out", "a parent away"},
		"dev/stdin":       {"a link out", "a directory"},
		"dev/pts":         {"a link out", "a parent away"},
		"dev/shm":         {"a link up", "a FIFO", "a file", "a parent away"},
		"dev/mqueue":      {"a link out", "a link up", "a file", "a parent away"},
		"data":            {"a link out", "a link up", "a loop", "a link to /", "a FIFO", "a hard link"},
		"data/below":      {"a parent away"},
	} {
		for _, kind := range where {
			all = append(all, attack{name: path + " is " + kind, row: "U12", precedent: "CVE-2021-30465", prepare: func(k *kit) []string {
				flags := []string{"--dns=192.0.2.1", "--hosts-entry=192.0.2.2=evil", "--hostname=box2"}
				if strings.HasPrefix(path, "data") {
					source := k.file("volume/in", []byte("in"))
					flags = append(flags, "--volume=v,kind=host,source="+strings.TrimSuffix(source, "/in"), "--mount=volume=v,target=/"+path)
				}
				return k.running(nil, flags, []string{"sh", "-c", "echo x >/" + path + "; echo y >/etc/hosts; exit 0"}, kinds[kind](path)...)
			}, after: func(k *kit, r result) {
				if r.code != 0 && r.code != 254 {
					k.Errorf("exit code %d: %s", r.code, r.stderr)
				}
			}})
		}
	}
	return all
}

// Package hostcheck finds out whether a host can run pods, and what is lost where it lacks something.
//
// It knows what gantry wants of a kernel and its surroundings. It only looks: it makes nothing that stays, and changes nothing.
package hostcheck

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/image"
	"github.com/gantryrun/gantry/image/order"
	"github.com/gantryrun/gantry/runtime"
)

// Host is what is looked at.
type Host struct {
	Dir        string
	Store      *image.Store
	Programs   runtime.Programs
	PluginDirs []string
}

// Result is what one look found.
type Result struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Needed bool   `json:"needed"` // no pod runs without it
	Found  string `json:"found"`
	Lost   string `json:"lost,omitempty"` // what does not work without it
}

// Run looks at everything.
func Run(h Host) []Result {
	results := []Result{checkRoot(), checkKernel(), checkCgroups()}
	results = append(results, checkNamespaces()...)
	results = append(results, h.checkStore(), h.checkDir(), h.checkNft(), checkSystemd())
	for _, p := range []string{"gantry-stage1", "gantry-launch", "gantry-init"} {
		results = append(results, h.checkProgram(p, "no pod can be run"))
	}
	return append(results, h.checkProgram(order.Program, "no image can be fetched or exported, and no key trusted"), h.checkPlugins())
}

func checkRoot() Result {
	uid := unix.Geteuid()
	found, can := fmt.Sprintf("uid %d", uid), false
	var caps [2]unix.CapUserData
	if unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &caps[0]) == nil {
		can = caps[0].Effective&(1<<unix.CAP_SYS_ADMIN) != 0
	}
	if uid == 0 && !can { // root of a container
		found += " without CAP_SYS_ADMIN"
	}
	return Result{Name: "root", OK: uid == 0 && can, Needed: true, Found: found, Lost: "pods cannot be run; list, status and image list work where files may be read"}
}

func checkKernel() Result {
	var u unix.Utsname
	r := Result{Name: "kernel", Needed: true, Lost: "Linux 5.12 is needed (mount_setattr, openat2, pidfd); 6.12 mounts images without unpacking them"}
	if err := unix.Uname(&u); err != nil {
		r.Found = err.Error()
		return r
	}
	r.Found = unix.ByteSliceToString(u.Release[:])
	var major, minor int
	if _, err := fmt.Sscanf(r.Found, "%d.%d", &major, &minor); err == nil {
		r.OK = major > 5 || major == 5 && minor >= 12
	}
	return r
}

func checkCgroups() Result {
	r := Result{Name: "cgroups", Needed: true, Lost: "no limits, and no certain end of a pod"}
	var st unix.Statfs_t
	if err := unix.Statfs("/sys/fs/cgroup", &st); err != nil {
		r.Found = err.Error()
		return r
	}
	if st.Type == unix.CGROUP2_SUPER_MAGIC {
		data, err := os.ReadFile("/sys/fs/cgroup/cgroup.controllers")
		r.Found, r.OK = "v2: "+strings.TrimSpace(string(data)), err == nil
		return r.needControllers(strings.Fields(string(data)), "cpu", "memory", "pids")
	}
	entries, err := os.ReadDir("/sys/fs/cgroup")
	if err != nil {
		r.Found = err.Error()
		return r
	}
	var names []string
	for _, e := range entries {
		names = append(names, strings.Split(e.Name(), ",")...)
	}
	slices.Sort(names)
	r.OK, r.Found = true, "v1 or hybrid: "+strings.Join(slices.Compact(names), " ")
	return r.needControllers(names, "cpu", "memory", "pids", "freezer", "devices")
}

func (r Result) needControllers(have []string, want ...string) Result {
	for _, w := range want {
		if !slices.Contains(have, w) {
			r.OK = false
			r.Found += "; no " + w
		}
	}
	return r
}

func checkNamespaces() []Result {
	var all []Result
	for _, n := range []struct{ name, lost string }{
		{"net", "only --net=host"}, {"pid", "only --pid=host"}, {"ipc", "only --ipc=parent"}, {"uts", "apps see the host's name"},
		{"mnt", "nothing works"}, {"cgroup", "apps see the host's cgroup paths"},
	} {
		_, err := os.Stat("/proc/self/ns/" + n.name)
		r := Result{Name: "ns/" + n.name, OK: err == nil, Needed: true, Found: "yes", Lost: n.lost}
		if err != nil {
			r.Found = "no"
		}
		all = append(all, r)
	}
	data, err := os.ReadFile("/proc/filesystems")
	overlay := err == nil && bytes.Contains(data, []byte("\toverlay\n"))
	all = append(all, Result{Name: "overlayfs", OK: overlay, Needed: true, Found: yesNo(overlay), Lost: "no pod can be run (modprobe overlay)"})
	actions, err := os.ReadFile("/proc/sys/kernel/seccomp/actions_avail")
	return append(all, Result{Name: "seccomp", OK: err == nil && bytes.Contains(actions, []byte("errno")), Found: strings.TrimSpace(string(actions)), Lost: "only --seccomp=unconfined"})
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func (h Host) checkStore() Result {
	r := Result{Name: "store", Lost: "an image is unpacked once, as it is first used"}
	backend, why, err := h.Store.Backend()
	if err != nil {
		r.Found = err.Error()
		return r
	}
	r.OK, r.Found = backend == image.Erofs, string(backend)
	if why != "" {
		r.Found += ": " + why
	}
	return r
}

// checkDir looks at the file system that the data directory is on, or will be.
func (h Host) checkDir() Result {
	r := Result{Name: "data directory", Needed: true, Lost: "pods keep their changes in an overlay's upper directory, which cannot lie there: choose another --dir"}
	dir := h.Dir
	var st unix.Statfs_t
	for err := unix.Statfs(dir, &st); err != nil; err = unix.Statfs(dir, &st) {
		if !errors.Is(err, unix.ENOENT) || dir == "/" {
			r.Found = fmt.Sprintf("%s: %v", dir, err)
			return r
		}
		dir = filepath.Dir(dir)
	}
	r.OK = st.Type != unix.OVERLAYFS_SUPER_MAGIC && st.Type != unix.NFS_SUPER_MAGIC
	r.Found = fmt.Sprintf("%s: %d MiB free", h.Dir, st.Bavail*uint64(st.Bsize)>>20)
	if !r.OK {
		r.Found += ", on overlayfs or NFS"
	}
	return r
}

// checkNft has gantry-stage1 make the rules in a network namespace of its own: a kernel may have nf_tables and not all that they need.
func (h Host) checkNft() Result {
	r := Result{Name: "nftables", Lost: "the default network cannot translate addresses, and ports cannot be published"}
	if unix.Geteuid() != 0 {
		_, err := os.Stat("/proc/net/netfilter")
		r.OK, r.Found = err == nil, yesNo(err == nil)+", as far as can be seen without root"
		return r
	}
	stage1, err := h.Programs.Find("gantry-stage1")
	if err != nil {
		r.Found = err.Error()
		return r
	}
	out, err := exec.Command(stage1, "probe-network").CombinedOutput()
	r.OK, r.Found = err == nil, yesNo(err == nil)
	if err != nil {
		r.Found = strings.TrimPrefix(strings.TrimSpace(string(out)), "gantry: run: ")
	} else if path, err := exec.LookPath("nft"); err == nil {
		r.Found += ", and " + path + " to look at the rules"
	}
	return r
}

func checkSystemd() Result {
	_, err := os.Stat("/run/systemd/system")
	return Result{Name: "systemd", OK: err == nil, Found: yesNo(err == nil), Lost: "pods are started from a shell or another supervisor; readiness is told to nobody"}
}

func (h Host) checkProgram(name, lost string) Result {
	path, err := h.Programs.Find(name)
	if err != nil {
		return Result{Name: name, Needed: true, Found: err.Error(), Lost: lost}
	}
	return Result{Name: name, OK: true, Needed: true, Found: path}
}

func (h Host) checkPlugins() Result {
	r := Result{Name: "CNI plugins", Lost: "only the built-in networks, none and host"}
	for _, dir := range h.PluginDirs {
		entries, err := os.ReadDir(dir)
		if err == nil && len(entries) > 0 {
			r.OK, r.Found = true, fmt.Sprintf("%d in %s", len(entries), dir)
			return r
		}
	}
	r.Found = "none in " + strings.Join(h.PluginDirs, ", ")
	return r
}

package stage1

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods"
)

const cgroupRoot = "/sys/fs/cgroup"

// podCgroup is where the cgroups of a pod lie: below that of whoever started it, so that a unit's limits hold.
type podCgroup struct {
	// dirs are the pod's directory in each hierarchy: one on a pure v2 host, one per controller on v1 and hybrid hosts.
	dirs []string
	// path is what libcontainer takes for the pod: relative to the launcher's own cgroup on v1, absolute on v2.
	path string
	// supervisor is where the supervisor has to move first ("" to stay): on v2 a cgroup that gives controllers to
	// children may hold no process itself.
	supervisor string
	memory     string  // of dirs, that with the memory controller
	hybrid     *hybrid // nil: this host is not
}

// cgroupName is that of the pod in every hierarchy; gc finds it again by it.
func cgroupName(uuid string) string { return "gantry-" + uuid }

// findCgroup works out where the pod's cgroups are to be made. It makes nothing. hidden is pods.HybridMount, where that is hidden already.
func findCgroup(uuid string, hidden *os.File) (*podCgroup, error) {
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	name := cgroupName(uuid)
	if isUnified() {
		return unifiedCgroup(string(own), name), nil
	}
	mounts, err := cgroupMounts()
	if err != nil {
		return nil, err
	}
	if hidden != nil {
		mounts[""] = pods.HybridMount
	}
	cg := &podCgroup{path: name}
	for line := range strings.Lines(string(own)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 {
			return nil, fmt.Errorf("read /proc/self/cgroup: unexpected line %q", line)
		}
		m, ok := mounts[f[1]]
		switch {
		case ok && f[1] == "":
			cg.hybrid = &hybrid{mount: m, dir: filepath.Join(m, f[2], name), hidden: hidden}
			cg.dirs = append(cg.dirs, cg.hybrid.dir)
		case ok:
			cg.dirs = append(cg.dirs, filepath.Join(m, f[2], name))
			if slices.Contains(strings.Split(f[1], ","), "memory") {
				cg.memory = cg.dirs[len(cg.dirs)-1]
			}
		}
	}
	return cg, nil
}

func isUnified() bool {
	var st unix.Statfs_t
	return unix.Statfs(cgroupRoot, &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC
}

// unifiedCgroup places the pod on a pure v2 host: inside the unit's own cgroup where that was delegated to us, else in
// a cgroup beside all units, as runtimes without systemd do.
func unifiedCgroup(own, name string) *podCgroup {
	dir := filepath.Join(cgroupRoot, strings.TrimPrefix(strings.TrimSpace(own), "0::"))
	if !delegated(dir) && delegated(filepath.Dir(dir)) {
		dir = filepath.Dir(dir) // we are in a leaf of the unit's already: systemd's .control or DelegateSubgroup=, or another pod's supervisor
	}
	if delegated(dir) {
		return &podCgroup{
			dirs:       []string{filepath.Join(dir, name), filepath.Join(dir, "supervisor")},
			path:       strings.TrimPrefix(filepath.Join(dir, name), cgroupRoot),
			supervisor: filepath.Join(dir, "supervisor"),
			memory:     filepath.Join(dir, name),
		}
	}
	dir = filepath.Join(cgroupRoot, "gantry", name)
	return &podCgroup{dirs: []string{dir}, path: filepath.Join("/gantry", name), memory: dir}
}

// delegated reports whether systemd gave this cgroup away (Delegate=yes), by the mark that it leaves.
func delegated(dir string) bool {
	var buf [8]byte
	for _, attr := range []string{"trusted.delegate", "user.delegate"} {
		if n, err := unix.Getxattr(dir, attr, buf[:]); err == nil && string(buf[:n]) == "1" {
			return true
		}
	}
	return false
}

// cgroupMounts maps the controllers of each v1 hierarchy, as /proc/self/cgroup writes them, to its mount point; ""
// is the cgroup2 of a hybrid host.
func cgroupMounts() (map[string]string, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	mounts := map[string]string{}
	for s := bufio.NewScanner(f); s.Scan(); {
		front, back, ok := strings.Cut(s.Text(), " - ")
		if !ok || !strings.HasPrefix(back, "cgroup") {
			continue
		}
		fields, tail := strings.Fields(front), strings.Fields(back)
		if len(fields) < 5 || len(tail) < 3 || fields[3] != "/" {
			continue
		}
		if tail[0] == "cgroup2" {
			mounts[""] = fields[4]
			continue
		}
		mounts[controllers(tail[2])] = fields[4]
	}
	return mounts, nil
}

// controllers picks the controllers out of a v1 hierarchy's mount options.
func controllers(options string) string {
	var out []string
	for o := range strings.SplitSeq(options, ",") {
		switch o {
		case "rw", "ro", "xattr", "noprefix", "clone_children", "cpuset_v2_mode", "all", "none":
		default:
			if !strings.HasPrefix(o, "release_agent=") {
				out = append(out, o)
			}
		}
	}
	return strings.Join(out, ",")
}

// enter moves this process, and a launcher that is there already (0: none), out of the way where the hierarchy asks for it.
func (cg *podCgroup) enter(launcher int) error {
	if cg.hybrid != nil {
		return cg.hybrid.hide()
	}
	if cg.supervisor == "" {
		return nil
	}
	if err := os.Mkdir(cg.supervisor, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := os.WriteFile(filepath.Join(cg.supervisor, "cgroup.procs"), []byte("0"), 0); err != nil {
		return fmt.Errorf("move the supervisor to its own cgroup: %w", err)
	}
	if launcher > 0 {
		err := os.WriteFile(filepath.Join(cg.supervisor, "cgroup.procs"), []byte(strconv.Itoa(launcher)), 0)
		if err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("move gantry-launch to the supervisor's cgroup: %w", err)
		}
	}
	return cg.clear()
}

// clear moves what else is in the unit's own cgroup, such as the shell script that called us, to where the supervisor is. The cgroup
// was given away to who runs in it, and one with processes cannot hand controllers to its children.
func (cg *podCgroup) clear() error {
	procs, err := os.ReadFile(filepath.Join(filepath.Dir(cg.supervisor), "cgroup.procs"))
	if err != nil {
		return err
	}
	for pid := range strings.FieldsSeq(string(procs)) {
		err := os.WriteFile(filepath.Join(cg.supervisor, "cgroup.procs"), []byte(pid), 0)
		if err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("move process %s out of the unit's own cgroup: %w", pid, err)
		}
	}
	return nil
}

// oomKills counts the out-of-memory kills of an app's run, whose cgroup was made for it: what came before its start was heard of counts, too. 0
// where the kernel does not tell. It reads memory.events on v2 and memory.oom_control (kernel 4.13) on v1.
func (cg *podCgroup) oomKills(app string) int {
	file := "memory.oom_control"
	if isUnified() {
		file = "memory.events"
	}
	data, err := os.ReadFile(filepath.Join(cg.memory, app, file))
	if cg.memory == "" || err != nil {
		return 0
	}
	for line := range strings.Lines(string(data)) {
		if count, ok := strings.CutPrefix(line, "oom_kill "); ok {
			n, _ := strconv.Atoi(strings.TrimSpace(count))
			return n
		}
	}
	return 0
}

package invariant

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// processes lists gantry's own programs, and whatever lives in another PID namespace than ours (an app).
// Zombies are left out: they hold nothing, and their reaping is their parent's matter.
func processes(Options) ([]string, error) {
	own, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return nil, err
	}
	var out []string
	err = eachProcess(func(pid int, dir string) {
		status, err := os.ReadFile(dir + "/stat")
		if err != nil {
			return // it ended
		}
		name, state, ok := parseStat(string(status))
		if !ok || state == "Z" || state == "X" {
			return
		}
		ns, err := os.Readlink(dir + "/ns/pid")
		if strings.HasPrefix(name, "gantry") || err == nil && ns != own {
			out = append(out, fmt.Sprintf("%d %s", pid, name))
		}
	})
	return out, err
}

// parseStat takes the name and the state out of /proc/PID/stat; the name may hold spaces and parentheses.
func parseStat(line string) (name, state string, ok bool) {
	open, end := strings.IndexByte(line, '('), strings.LastIndexByte(line, ')')
	if open < 0 || end < open || len(line) < end+3 {
		return "", "", false
	}
	return line[open+1 : end], line[end+2 : end+3], true
}

func eachProcess(visit func(pid int, dir string)) error {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			visit(pid, "/proc/"+e.Name())
		}
	}
	return nil
}

// mounts lists the mounts of our own mount namespace, without the numbers that differ from boot to boot.
func mounts(opts Options) ([]string, error) {
	infos, err := mountinfo.GetMounts(nil)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, m := range infos {
		if opts.Standing && strings.HasPrefix(m.Mountpoint, runDir+"/images") {
			continue
		}
		out = append(out, fmt.Sprintf("%s on %s (root %s)", m.FSType, m.Mountpoint, m.Root))
	}
	return out, nil
}

// netNamespaces lists every network namespace that a process is in or that a mount pins.
func netNamespaces(Options) ([]string, error) {
	seen := map[string]bool{}
	err := eachProcess(func(_ int, dir string) {
		if ns, err := os.Readlink(dir + "/ns/net"); err == nil {
			seen[ns] = true
		}
	})
	if err != nil {
		return nil, err
	}
	pinned, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("nsfs"))
	if err != nil {
		return nil, err
	}
	for _, m := range pinned {
		if strings.HasPrefix(m.Root, "net:") {
			seen[m.Root] = true
		}
	}
	out := make([]string, 0, len(seen))
	for ns := range seen {
		out = append(out, ns)
	}
	return out, nil
}

func links(Options) ([]string, error) {
	list, err := netlink.LinkList()
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, err
	}
	var out []string
	for _, l := range list {
		out = append(out, l.Type()+" "+l.Attrs().Name)
	}
	return out, nil
}

// knownNetworks is the set of gantry's table that has an element for each network that had a pod, as long as there is the table.
var knownNetworks = regexp.MustCompile(`set networks \{[^}]*\}`)

// nftRules lists the ruleset line by line, without counters. No nft program, no rules that it could show.
func nftRules(opts Options) ([]string, error) {
	cmd := exec.Command("nft", "-s", "list", "ruleset")
	out, err := cmd.Output()
	if errors.Is(err, exec.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("nft list ruleset: %w", err)
	}
	var lines []string
	for table := range strings.SplitSeq(string(out), "\n}\n") {
		if opts.Standing && strings.HasPrefix(table, "table inet gantry {") && !strings.Contains(knownNetworks.ReplaceAllString(table, ""), "elements =") {
			continue
		}
		for line := range strings.Lines(table) {
			if line = strings.TrimSpace(line); line != "" && line != "}" {
				lines = append(lines, line)
			}
		}
	}
	return lines, nil
}

// cgroups lists the directories of every hierarchy.
func cgroups(Options) ([]string, error) {
	var out []string
	infos, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		return m.FSType != "cgroup" && m.FSType != "cgroup2", false
	})
	if err != nil {
		return nil, err
	}
	for _, m := range infos {
		err := filepath.WalkDir(m.Mountpoint, func(path string, d fs.DirEntry, err error) error {
			switch {
			case errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV):
				return nil // removed while we looked
			case err != nil:
				return err
			case d.IsDir():
				out = append(out, path)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

var lockLine = regexp.MustCompile(`^\d+: (?:-> )?(\S+)\s+\S+\s+(\S+)\s+-?\d+ ([0-9a-f]+):([0-9a-f]+):(\d+)`)

// locks lists who holds or waits for a lock on a file below the data directories. /proc/locks shows
// open-file-description locks of every process of the machine, so those of other files are left out.
func locks(opts Options) ([]string, error) {
	names, err := inodes(opts.Dirs)
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile("/proc/locks")
	if err != nil {
		return nil, err
	}
	var out []string
	for line := range bytes.Lines(data) {
		m := lockLine.FindSubmatch(line)
		if m == nil {
			continue
		}
		major, _ := strconv.ParseUint(string(m[3]), 16, 32)
		minor, _ := strconv.ParseUint(string(m[4]), 16, 32)
		ino, _ := strconv.ParseUint(string(m[5]), 10, 64)
		if name, ok := names[inode{unix.Mkdev(uint32(major), uint32(minor)), ino}]; ok {
			out = append(out, fmt.Sprintf("%s %s on %s", m[1], m[2], name))
		}
	}
	return out, nil
}

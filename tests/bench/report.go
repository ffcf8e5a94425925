package main

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

const preface = `# Performance

Gantry beside its peers, as ` + "`make bench-peers`" + ` measured it: runs interleaved, one of each contender per round, after one
round that does not count; medians. Absolute times drift with the machine: the ratio, measured in one run, is what counts.

| machine | |
|---|---|
%s
What each contender does, so that the ratios can be read rightly:
- **gantry** fetches, mounts and supervises: each run makes a pod directory, an overlay, a pod of namespaces, and undoes them.
  The pod directory stays for gc, which is not timed.
- **runc** and **crun** get a bundle that lies unpacked on disk, with runc's default configuration and the same seccomp profile
  (moby's default): no image, no overlay, no supervisor, no log.
- **podman** runs with --rm, so that its time holds the removal. Its pod is made by four commands (pod create, create, create,
  pod start), and its infra container runs the same busybox.
- A **fetch** goes into a new ext4 file system on a loop device. The registry is Debian's docker-registry on 127.0.0.1.

| what | rounds | contender | median | gantry is | target |
|---|---|---|---|---|---|
`

// report is docs/performance.md.
func report(rows []row, _ settings) string {
	var out strings.Builder
	fmt.Fprintf(&out, preface, machine())
	for _, r := range rows {
		own := r.lines[0].value
		for i, l := range r.lines {
			name, rounds, ratio, target := "", "", "", ""
			if i == 0 {
				name, rounds = r.name, fmt.Sprint(r.rounds)
				if r.against == "" {
					target = verdict(own <= r.target, "<= "+r.format(r.target))
				}
			} else if strings.HasPrefix(l.who, "of it") {
				ratio = ""
			} else {
				ratio = fmt.Sprintf("%.2f x", own/l.value)
			}
			if r.against != "" && l.who == r.against {
				target = verdict(own/l.value <= r.target, fmt.Sprintf("<= %.2f x", r.target))
			}
			fmt.Fprintf(&out, "| %s | %s | %s | %s | %s | %s |\n", name, rounds, l.who, r.format(l.value), ratio, target)
		}
	}
	return out.String()
}

func verdict(met bool, target string) string {
	if met {
		return target + ": met"
	}
	return target + ": **not met**"
}

// machine describes it without its name.
func machine() string {
	var u unix.Utsname
	_ = unix.Uname(&u)
	var out strings.Builder
	for _, l := range [][2]string{
		{"cores", fmt.Sprint(runtime.NumCPU())},
		{"memory", memTotal()},
		{"kernel", number.FindString(unix.ByteSliceToString(u.Release[:]))},
		{"peers", strings.Join([]string{version("runc"), version("crun"), version("podman")}, ", ")},
	} {
		fmt.Fprintf(&out, "| %s | %s |\n", l[0], l[1])
	}
	return out.String()
}

func memTotal() string {
	data, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return "?"
	}
	var kb int
	if _, err := fmt.Sscanf(string(data), "MemTotal: %d kB", &kb); err != nil {
		return "?"
	}
	return fmt.Sprintf("%.0f GB", float64(kb)/(1<<20))
}

var number = regexp.MustCompile(`\d+\.\d+\.\d+`)

func version(program string) string {
	out, err := exec.Command(program, "--version").Output()
	if err != nil {
		return program + "?"
	}
	return program + " " + number.FindString(string(out))
}

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
- **containerd** has a daemon, started before and not timed, with data, state and socket of its own; **skopeo** copies into a layout that
  **umoci** unpacks.
- A **fetch** goes into a new ext4 file system on a loop device; gantry's alone is durable when it is acknowledged. The registry is
  Debian's docker-registry on 127.0.0.1. The floors work on local files: no network, no digest, no store. The image of 1 MB goes
  into an empty directory.
- Where the milliseconds of a run go is in [startup.md](startup.md).
- **Many pods** are started by xargs -P 8. The list of 4,000 is of copies of pods that were run, under other UUIDs.
- **Wake-ups** are context switches of all threads of the supervisor and the reaper, while nothing is asked of them.
- **TCP** is iperf3's, two seconds a round, server and client on this machine.

| what | rounds | contender | median | gantry is | target |
|---|---|---|---|---|---|
`

// report is docs/performance.md.
func report(rows []row) string {
	var out strings.Builder
	fmt.Fprintf(&out, preface, machine())
	for _, r := range rows {
		for i, l := range r.lines {
			name, rounds, times := "", "", ""
			switch {
			case i == 0:
				name, rounds = r.name, fmt.Sprint(r.rounds)
			case !strings.HasPrefix(l.who, "of it") && l.value > 0:
				times = fmt.Sprintf("%.2f x", r.lines[0].value/l.value)
			}
			fmt.Fprintf(&out, "| %s | %s | %s | %s | %s | %s |\n", name, rounds, l.who, r.format(l.value), times, r.targets(i))
		}
	}
	return out.String()
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
		{"peers", strings.Join([]string{
			version("runc"), version("crun"), version("podman"), version("containerd"), version("skopeo"), version("umoci"),
		}, ", ")},
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

package stage1

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// killPatience is how long killCgroups looks again: a fork bomb takes it some rounds; a process that waits for a dead disk, all of it.
const killPatience = 50 * time.Second

// killCgroups kills every process below dirs but those in except, and returns when there is none left, so that the cgroups can be removed, or
// says who does not die. On v2 the kernel does it in one write (cgroup.kill, 5.14); on v1 a loop of pidfds is the substitute.
func killCgroups(dirs []string, except string, patience time.Duration) error {
	deadline := time.Now().Add(patience)
	for round := 0; ; round++ {
		var left []string
		leaving := ""
		for _, dir := range dirs {
			if dir == except {
				continue
			}
			_ = os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0) // v1, or older than 5.14: the loop does it
			pids, err := killTree(dir, nil)
			if err != nil {
				return err
			}
			left = append(left, pids...)
			if len(pids) == 0 && populated(dir) {
				leaving = dir
			}
		}
		switch late := time.Now().After(deadline); {
		case len(left) == 0 && leaving == "":
			return nil
		case late && len(left) > 0:
			return fmt.Errorf("these processes do not die: %s", describe(left))
		case late:
			return fmt.Errorf("processes of cgroup %s do not get to their end", leaving)
		}
		time.Sleep(min(time.Duration(round), 50) * time.Millisecond) //nolint:forbidigo // the kernel tells nobody when a v1 cgroup gets empty
	}
}

// populated reports whether a cgroup2 still counts processes in dir or below. Those that are at their end are no longer listed, and as long as
// they are counted the cgroup cannot be removed. On v1 they are listed, and there is no such file.
func populated(dir string) bool {
	events, err := os.ReadFile(filepath.Join(dir, "cgroup.events"))
	return err == nil && bytes.Contains(events, []byte("populated 1"))
}

// killTree sends SIGKILL to all in the cgroup dir and below that are meant (nil: all are), and returns who they were.
func killTree(dir string, meant func(pid string) bool) (pids []string, err error) {
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !e.IsDir() {
			return err
		}
		data, err := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
			return nil
		}
		for pid := range strings.FieldsSeq(string(data)) {
			if meant == nil || meant(pid) {
				pids = append(pids, pid)
				killMember(pid, meant)
			}
		}
		return err
	})
	return pids, err
}

// describe names the first of pids, each with its program and state (D: it waits for something that cannot be interrupted). On v1 one process
// may be in several hierarchies.
func describe(pids []string) string {
	slices.Sort(pids)
	pids = slices.Compact(pids)
	var out []string
	for _, pid := range pids[:min(len(pids), 5)] {
		stat, _ := os.ReadFile(filepath.Join("/proc", pid, "stat"))
		name, rest, _ := strings.Cut(string(stat), ") ")
		_, name, _ = strings.Cut(name, "(")
		out = append(out, fmt.Sprintf("%s (%s, state %.1s)", pid, printable(name), rest))
	}
	if more := len(pids) - len(out); more > 0 {
		out = append(out, fmt.Sprintf("%d more", more))
	}
	return strings.Join(out, ", ")
}

// killMember kills a process that was listed in a cgroup of the pod, if it is meant (nil: it is). PID 0 is of another PID namespace.
func killMember(pid string, meant func(string) bool) {
	n, err := strconv.Atoi(pid)
	if err != nil || n <= 1 || n == os.Getpid() {
		return
	}
	fd, err := unix.PidfdOpen(n, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	if meant != nil && !meant(pid) { // its number was another's
		return
	}
	_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
}

// killer has processes killed without the loop waiting for it: one in an uninterruptible sleep would hold up everything else.
type killer struct {
	kills   chan func() // what the loop is to do when it is done
	killers int         // how many are at work
	outside bool        // one of them kills all of the pod's
	asking  bool        // one of them finds out why killed reapers are not gone
	askAt   time.Time   // when one is to; zero: no reaper was killed
	undead  error       // who did not die
}

// killInBackground kills what is in the cgroups, and has the loop hear of it.
func (s *supervisor) killInBackground(dirs []string, except string, then func(error)) {
	s.killers++
	go func() {
		err := killCgroups(dirs, except, killPatience)
		s.kills <- func() { then(err) }
	}()
}

// killed takes that one of them is done.
func (s *supervisor) killed(then func()) {
	s.killers--
	then()
}

// collectPatience is what reapers that were killed have to be gone.
const collectPatience = 2 * time.Second

// askForLiving asks the cgroups why reapers that were killed are not gone. Each waits until every process of its PID namespace was collected by its
// parent. That of a command that was entered is its client, who collects nobody while he is stopped (Ctrl-Z in a shell), and a pod does not
// wait for him: where nobody lives any more, its reapers count as dead.
func (s *supervisor) askForLiving() {
	if at := s.dueReapers(); at.IsZero() || time.Now().Before(at) {
		return
	}
	s.asking = true
	s.killInBackground(s.cgroup.dirs, s.cgroup.supervisor, func(err error) {
		s.asking, s.askAt = false, time.Now().Add(collectPatience)
		if err == nil {
			s.reaperDead = true
			clear(s.appReapers)
		}
		s.settle()
	})
}

// dueReapers is when to ask; zero: never.
func (s *supervisor) dueReapers() time.Time {
	if s.asking || s.reapersDead() {
		return time.Time{}
	}
	return s.askAt
}

// living reports whether a process of the pod may still be alive, or dead and not collected: the death of the reapers tells that of the apps,
// except in the host's PID namespace.
func (s *supervisor) living() bool {
	return !s.reapersDead() || s.killers > 0 || s.undead == nil && s.find(func(a *app) bool { return a.pid != 0 }) != nil
}

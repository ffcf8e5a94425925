package runtime

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/gantryrun/gantry/pods"
)

// undeadPause is between two looks for processes that a stop cannot end. The kernel tells of their end, and not of its being long in coming.
const undeadPause = 5 * time.Second

// watchUndead warns, once and until over is called, of a process of the pod that was killed and does not die, because it waits for something of
// the kernel's: until then the pod runs, and who stops it waits. With warn nil it does nothing.
func watchUndead(ctx context.Context, pod *pods.Pod, warn func(format string, args ...any)) (over func()) {
	run, err := pod.Run()
	if err != nil || warn == nil {
		return func() {}
	}
	ctx, over = context.WithCancel(ctx)
	go func() {
		if who := awaitUndead(ctx, run.Cgroups); who != "" {
			warn("pod %s: process %s was killed and does not die: it waits for the kernel, for a disk or a server of files perhaps; so does this", pod.UUID, who)
		}
	}()
	return over
}

// awaitUndead returns the first that is found below the cgroups; empty: ctx is over.
func awaitUndead(ctx context.Context, cgroups []string) string {
	tick := time.NewTicker(undeadPause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ""
		case <-tick.C:
		}
		for _, dir := range cgroups {
			if who := undead(dir); who != "" {
				return who
			}
		}
	}
}

// undead names the first process below dir that is in state D with SIGKILL pending; empty: there is none.
func undead(dir string) (who string) {
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() {
			return nil // it goes while we look
		}
		pids, _ := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		for pid := range strings.FieldsSeq(string(pids)) {
			status, _ := os.ReadFile(filepath.Join("/proc", pid, "status"))
			if name, is := isUndead(string(status)); is {
				who = fmt.Sprintf("%s (%q)", pid, name)
				return fs.SkipAll
			}
		}
		return nil
	})
	return who
}

func isUndead(status string) (name string, is bool) {
	waits, killed := false, false
	for line := range strings.Lines(status) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		switch value = strings.TrimSpace(value); key {
		case "Name":
			name = value
		case "State":
			waits = strings.HasPrefix(value, "D")
		case "SigPnd", "ShdPnd":
			const kill = 1 << (9 - 1)
			set, _ := strconv.ParseUint(value, 16, 64)
			killed = killed || set&kill != 0
		}
	}
	return name, waits && killed
}

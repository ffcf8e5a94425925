package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// members are the processes in a cgroup, by their PIDs in the box, and their names. A cgroup that is not there has none.
func members(procs string) (map[int]string, error) {
	data, err := os.ReadFile(procs)
	if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ENODEV) {
		return nil, err
	}
	out := map[int]string{}
	for _, word := range strings.Fields(string(data)) {
		pid, err := strconv.Atoi(word)
		if err != nil {
			return nil, err
		}
		if comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); err == nil { // else it ended
			out[pid] = strings.TrimSpace(string(comm))
		}
	}
	return out, nil
}

// catch waits until a process of one of these names, which lives for some milliseconds, runs beside a supervisor that is not one of
// the old ones, and kills it, or that supervisor. Who looks once in a while misses it, so this looks all the time.
func catch(ctx context.Context, procs string, old map[int]string, names []string, it bool) error {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline) && ctx.Err() == nil; time.Sleep(200 * time.Microsecond) {
		now, err := members(procs)
		if err != nil {
			return err
		}
		supervisor, sought := 0, 0
		for pid, name := range now {
			if name == "gantry-stage1" && old[pid] == "" {
				supervisor = pid
			}
			if slices.Contains(names, name) {
				sought = pid
			}
		}
		if supervisor == 0 || sought == 0 {
			continue
		}
		victim := supervisor
		if it {
			victim = sought
		}
		if err := unix.Kill(victim, unix.SIGKILL); err == nil {
			return nil
		}
	}
	return fmt.Errorf("never saw %v", names)
}

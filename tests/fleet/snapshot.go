package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/gantryrun/gantry/tests/invariant"
)

// snapshotEnv makes this program take a picture of the host that it is on, and print it.
const snapshotEnv = "GANTRY_FLEET_SNAPSHOT"

type snapshot = invariant.Snapshot

func snapshotWanted() bool {
	if os.Getenv(snapshotEnv) == "" {
		return false
	}
	s, err := invariant.Take(invariant.Options{Dirs: []string{"/var/lib/gantry"}})
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(s)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return true
}

func (h *host) snapshot(ctx context.Context) (s snapshot, err error) {
	out, err := h.run(ctx, "env", snapshotEnv+"=yes", "/mnt/fleet")
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		return nil, err
	}
	for i := range s["netns"] { // how many there are counts: a host that was rebooted has another one itself
		s["netns"][i] = "net"
	}
	return s, nil
}

// leaks waits until the host is as it was before its first pod, and returns what is still different.
func (h *host) leaks(ctx context.Context) ([]string, error) {
	for deadline := time.Now().Add(patience); ; time.Sleep(200 * time.Millisecond) {
		now, err := h.snapshot(ctx)
		if err != nil {
			return nil, err
		}
		var left []string
		for _, line := range invariant.Diff(h.baseline, now) {
			if !systemds(line) {
				left = append(left, h.name+": "+line)
			}
		}
		if len(left) == 0 || time.Now().After(deadline) {
			return left, nil
		}
	}
}

// systemds are differences that are not gantry's: cgroups of systemd's services that started or stopped meanwhile, its slice for a
// template's instances, which it keeps, and the files that the unit asked to have UUIDs in. What is the pods' has "pod@" or
// "gantry" in it.
func systemds(line string) bool {
	if strings.HasSuffix(line, "/system-pod.slice") || strings.Contains(line, " run: /run/gantry/pod@") && strings.HasSuffix(line, ".uuid") {
		return true
	}
	return strings.Contains(line, " cgroup: ") && !strings.Contains(line, "pod") && !strings.Contains(line, "gantry")
}

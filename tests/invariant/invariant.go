// Package invariant is the leak check: it takes a picture of everything that a pod may hold on a machine, and
// says what differs between two pictures.
//
// It knows what gantry is allowed to leave (stored images, and nothing else). It never changes anything.
// Invariant: on a machine where no pod was ever run, and on the same machine after every pod was collected by
// gc, the pictures are equal.
//
// A picture is of the namespaces that the caller is in. A test that shares the machine with others takes its
// pictures in a box (package box), or it sees theirs.
package invariant

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// Snapshot is one picture: per kind of thing, the things there, each as one line.
type Snapshot map[string][]string

// Options say where to look.
type Options struct {
	Dirs []string // data directories (--dir): their pods, their locks

	// Standing lets pass what is made once per host, for all pods to come: mounts of stored images, the nft table
	// as long as it has nothing of any pod.
	Standing bool

	// Wait bounds how long Check lets the kernel finish what it does on its own time: tearing down network
	// devices and empty namespaces, reaping. Zero means a minute: only a leak takes as long.
	Wait time.Duration
}

// kinds are the sources of a Snapshot, each a function that lists what is there now.
var kinds = []struct {
	name string
	list func(Options) ([]string, error)
}{
	{"process", processes},
	{"mount", mounts},
	{"netns", netNamespaces},
	{"link", links},
	{"nft", nftRules},
	{"lease", leases},
	{"cgroup", cgroups},
	{"lock", locks},
	{"pod", podDirs},
	{"run", runFiles},
}

// Take takes a picture.
func Take(opts Options) (Snapshot, error) {
	s := Snapshot{}
	for _, k := range kinds {
		lines, err := k.list(opts)
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", k.name, err)
		}
		slices.Sort(lines)
		s[k.name] = lines
	}
	return s, nil
}

// Diff lists what after has and before has not ("+ kind: thing"), and the reverse ("- kind: thing"). It is
// empty when nothing leaked.
func Diff(before, after Snapshot) []string {
	var out []string
	for _, k := range kinds {
		for _, line := range missing(after[k.name], before[k.name]) {
			out = append(out, "+ "+k.name+": "+line)
		}
		for _, line := range missing(before[k.name], after[k.name]) {
			out = append(out, "- "+k.name+": "+line)
		}
	}
	return out
}

// missing returns the lines of a that b lacks; both may hold a line more than once.
func missing(a, b []string) []string {
	count := map[string]int{}
	for _, line := range b {
		count[line]++
	}
	var out []string
	for _, line := range a {
		if count[line]--; count[line] < 0 {
			out = append(out, line)
		}
	}
	return out
}

// Settle takes pictures until one equals before or the bound of opts.Wait has passed, and returns what is still
// different then.
func Settle(before Snapshot, opts Options) ([]string, error) {
	wait := opts.Wait
	if wait == 0 {
		wait = time.Minute
	}
	deadline := time.Now().Add(wait)
	for pause := 2 * time.Millisecond; ; pause = min(2*pause, 200*time.Millisecond) {
		after, err := Take(opts)
		if err != nil {
			return nil, err
		}
		diff := Diff(before, after)
		if len(diff) == 0 || time.Now().After(deadline) {
			return diff, nil
		}
		time.Sleep(pause)
	}
}

// Check fails the test with everything that leaked since before. A test that has failed already is not checked.
func Check(t testing.TB, before Snapshot, opts Options) {
	t.Helper()
	if t.Failed() {
		return // whatever broke it off may have left anything, and that would hide why
	}
	diff, err := Settle(before, opts)
	if err != nil {
		t.Fatalf("leak check: %v", err)
	}
	if len(diff) > 0 {
		t.Errorf("leaked:\n%s", strings.Join(diff, "\n"))
	}
}

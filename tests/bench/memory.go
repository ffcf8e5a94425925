package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// memory starts many pods of one app each and adds up what stays resident beside the apps, per pod.
func (b *bench) memory(ctx context.Context) (row, error) {
	r := row{
		name: fmt.Sprintf("resident PSS per running pod beside its app, %d pods", b.pods), unit: "kB", target: 1500, rounds: 1,
	}
	for i := range b.pods {
		if err := b.gantry(ctx, "run", "--net=none", "--detach", fmt.Sprintf("--pod-name=memory-%d", i), b.image("busybox"), "--", "sleep", "1000"); err != nil {
			return r, err
		}
	}
	stage1, err := pss("gantry-stage1")
	if err != nil {
		return r, err
	}
	reaper, err := pss("gantry-init")
	if err != nil {
		return r, err
	}
	r.lines = append(r.lines, line{"gantry (supervisor and reaper)", float64(stage1+reaper) / float64(b.pods)},
		line{"of it gantry-init", float64(reaper) / float64(b.pods)})
	for i := range b.pods {
		if err := b.gantry(ctx, "stop", "--force", fmt.Sprintf("memory-%d", i)); err != nil {
			return r, err
		}
	}
	if err := b.gantry(ctx, "gc", "--grace-period=0s"); err != nil {
		return r, err
	}
	for range b.pods {
		if err := b.podman(ctx, "run", "-d", "--network=none", b.image("busybox"), "sleep", "1000"); err != nil {
			return r, err
		}
	}
	conmon, err := pss("conmon")
	if err != nil {
		return r, err
	}
	r.lines = append(r.lines, line{"podman's conmon, per container", float64(conmon) / float64(b.pods)})
	return r, b.podman(ctx, "rm", "-f", "-a", "-t", "0")
}

// pss adds up, in kB, the proportional set size of all processes of a program.
func pss(program string) (int, error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return 0, err
	}
	total, found := 0, false
	for _, dir := range dirs {
		exe, err := os.Readlink(filepath.Join(dir, "exe"))
		if err != nil || strings.TrimSuffix(filepath.Base(exe), " (deleted)") != program {
			continue
		}
		n, err := pssOf(filepath.Join(dir, "smaps_rollup"))
		if err != nil {
			continue // it ended
		}
		total, found = total+n, true
	}
	if !found {
		return 0, fmt.Errorf("no process of %s", program)
	}
	return total, nil
}

func pssOf(file string) (int, error) {
	f, err := os.Open(file)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if words := strings.Fields(s.Text()); len(words) == 3 && words[0] == "Pss:" {
			return strconv.Atoi(words[1])
		}
	}
	return 0, fmt.Errorf("no Pss in %s", file)
}

// discard reads r to its end, closes it and says how much it was.
func discard(r io.ReadCloser) (int64, error) {
	defer r.Close()
	return io.Copy(io.Discard, r)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// reboot cuts the power of the last host, and waits until its pods are back.
func reboot(ctx context.Context, l *lab) (string, error) {
	h := l.hosts[len(l.hosts)-1]
	before := map[string]int{}
	for _, i := range h.instances {
		s, err := i.ask(ctx)
		if err != nil {
			return "", err
		}
		before[i.name] = s.Starts
	}
	if _, err := h.run(ctx, "sync"); err != nil {
		return "", err
	}
	start := time.Now()
	if err := h.Reboot(ctx); err != nil {
		return "", err
	}
	booted := time.Since(start)
	if err := l.writeRemote(); err != nil {
		return "", err
	}
	err := await(ctx, 2*patience, "all pods of "+h.name, func() (bool, error) {
		for _, i := range h.instances {
			if s, err := i.ask(ctx); err != nil || s.Starts != before[i.name]+1 {
				return false, fmt.Errorf("%s: %+v: %w", i.name, s, err)
			}
		}
		return true, nil
	})
	took := time.Since(start)
	if err == nil {
		err = l.complete(ctx)
	}
	if err == nil {
		err = errors.Join(h.settled(ctx), h.leased(ctx))
	}
	return fmt.Sprintf("%d pods at their addresses and with their data, %.1f s after the cut (systemd was through after %.1f s)", len(h.instances), took.Seconds(), booted.Seconds()), err
}

// upgrade replaces every program of the first host while its pods run: another file under the same name, as a package does.
// What runs goes on and is served by the new programs; what starts is theirs.
func upgrade(ctx context.Context, l *lab) (string, error) {
	h := l.hosts[0]
	const pids = "systemctl show --value -p MainPID 'pod@*'"
	before, err := h.run(ctx, "sh", "-c", pids)
	if err != nil {
		return "", err
	}
	replaced := 0
	err = filepath.WalkDir(filepath.Join(h.state, "bin"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasPrefix(d.Name(), ".") {
			return err
		}
		data, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(path+".new", data, 0o755)
		}
		if err == nil {
			err = os.Rename(path+".new", path)
		}
		replaced++
		return err
	})
	if err != nil {
		return "", err
	}
	for _, i := range h.instances {
		line := fmt.Sprintf("gantry status %[1]s | grep -x ready=true; gantry inspect %[1]s >/dev/null; gantry logs --tail=1 %[1]s >/dev/null; gantry enter --app=app %[1]s /bin/sidecar once; gantry stats --format=json %[1]s >/dev/null", i.name)
		if _, err := h.sh(ctx, line); err != nil {
			return "", err
		}
	}
	after, err := h.run(ctx, "sh", "-c", pids)
	if err != nil {
		return "", err
	}
	if before != after {
		return "", errors.New("a pod did not survive")
	}
	one := h.instances[len(h.instances)-1]
	if _, err := h.sh(ctx, fmt.Sprintf("gantry restart --app=export %[1]s; systemctl restart pod@%[1]s", one.name)); err != nil {
		return "", err
	}
	figure := fmt.Sprintf("%d files replaced under %d pods; each status, inspect, logs, enter, stats; one app and one pod restarted", replaced, len(h.instances))
	return figure, errors.Join(h.settled(ctx), l.complete(ctx))
}

// show is what a host has to do with a pod directory of another day: show all of it, and remove it.
const show = `gantry status $u | grep -x state=exited
gantry inspect $u | grep -q '"uuid": "'$u
gantry cat-manifest $u | grep -q $u
gantry logs $u | grep -q .
gantry list --full | grep -q $u
gantry rm $u
! test -e /var/lib/gantry/pods/$u
`

// golden puts the pod directories that are kept of each released format onto a host, which must read and then remove them. The
// collector rests: to it they are hours old.
func golden(ctx context.Context, l *lab) (string, error) {
	h := l.hosts[0]
	kept, err := filepath.Glob(filepath.Join(l.root, "pods/testdata/v*/*"))
	if err != nil {
		return "", err
	}
	if len(kept) == 0 {
		return "", errors.New("no pod directory is kept")
	}
	if _, err := h.run(ctx, "systemctl", "stop", "collector"); err != nil {
		return "", err
	}
	for _, dir := range kept {
		uuid := filepath.Base(dir)
		whole := filepath.Join(h.state, "data", uuid)
		if err := os.CopyFS(whole, os.DirFS(dir)); err != nil {
			return "", err
		}
		if err := os.Rename(whole, filepath.Join(h.state, "data/pods", uuid)); err != nil {
			return "", err
		}
		if _, err := h.sh(ctx, "u="+uuid+"; chmod -R go= /var/lib/gantry/pods/$u\n"+show); err != nil {
			return "", err
		}
	}
	_, err = h.run(ctx, "systemctl", "start", "collector")
	return fmt.Sprintf("%d kept, all read (status, inspect, manifest, logs, list) and removed", len(kept)), err
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// podFiles is how many pods a host has as files.
const podFiles = 100

// fstabGenerator is what every boot runs beside gantry's. (Quadlet, podman's generator, came with podman 4.4: Debian 12 has 4.3.)
const fstabGenerator = "/usr/lib/systemd/system-generators/systemd-fstab-generator"

// generator measures what a boot, and each daemon-reload, waits for: units of a hundred pod files, and as many of an /etc/fstab.
func (b *bench) generator(ctx context.Context) ([]row, error) {
	dir, fstab := filepath.Join(b.work, "pods.d"), filepath.Join(b.work, "fstab")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	memory, err := os.MkdirTemp("/dev/shm", "bench-units-") // as /run/systemd/generator is
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(memory)
	out := filepath.Join(memory, "units")
	mounts := ""
	for i := range podFiles {
		text := fmt.Sprintf("[Pod]\nNet=none\nSetEnv=N=%d\n[App a]\nImage=reg.example/x:1\nArgs=serve --port=80\n[Install]\nWantedBy=multi-user.target\n", i)
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("pod%d.pod", i)), []byte(text), 0o644); err != nil {
			return nil, err
		}
		mounts += fmt.Sprintf("tmpfs /mnt/bench-%d tmpfs size=1m 0 0\n", i)
	}
	if err := os.WriteFile(fstab, []byte(mounts), 0o644); err != nil {
		return nil, err
	}
	fresh := func(context.Context) error { return errors.Join(os.RemoveAll(out), os.Mkdir(out, 0o755)) }
	contenders := []contender{{name: "gantry", before: fresh, run: func(ctx context.Context) error { return b.gantry(ctx, "systemd", "generator", "--pods="+dir, out) }}}
	if _, err := os.Stat(fstabGenerator); err == nil {
		contenders = append(contenders, contender{name: "systemd-fstab-generator", before: fresh, run: func(ctx context.Context) error {
			return command(ctx, "env", "SYSTEMD_FSTAB="+fstab, fstabGenerator, out, out, out)
		}})
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	t, err := loop(ctx, 1, 3*b.rounds, contenders...)
	return []row{t.into(row{name: fmt.Sprintf("generator of units, %d pod files", podFiles), unit: "ms", limits: []limit{atMost(10)}}, 0)}, err
}

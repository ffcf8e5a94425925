package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// census counts, by name, the processes of a host that are gantry's or in a PID namespace of a pod.
const census = `own=$(readlink /proc/1/ns/pid)
for p in /proc/[0-9]*; do
  name=$(cat $p/comm 2>/dev/null) && ns=$(readlink $p/ns/pid) || continue
  case $name in gantry*) echo $name ;; *) [ "$ns" = "$own" ] || echo $name ;; esac
done | sort | uniq -c`

// expected is what census says of a host whose pods all run and on which no command does.
func (h *host) expected() map[string]int {
	n := len(h.instances)
	return map[string]int{"gantry-stage1": n, "gantry-init": n, "haproxy": n, "sidecar": 4 * n}
}

// count takes a census, and returns in what the host differs from what is expected; "" if in nothing.
func (h *host) count(ctx context.Context) (string, error) {
	out, err := h.sh(ctx, census)
	if err != nil {
		return "", err
	}
	want := h.expected()
	var differs []string
	for line := range strings.Lines(out) {
		words := strings.Fields(line)
		if n, _ := strconv.Atoi(words[0]); want[words[1]] != n {
			differs = append(differs, fmt.Sprintf("%s: %d of %s, not %d", h.name, n, words[1], want[words[1]]))
		}
		delete(want, words[1])
	}
	for name := range want {
		differs = append(differs, fmt.Sprintf("%s: no %s", h.name, name))
	}
	return strings.Join(differs, "; "), nil
}

// settled waits until a census finds what is expected: gc may be running just then.
func (h *host) settled(ctx context.Context) error {
	return await(ctx, patience, "a host with nothing but its pods", func() (bool, error) {
		differs, err := h.count(ctx)
		if err == nil && differs != "" {
			err = fmt.Errorf("%s", differs)
		}
		return err == nil, err
	})
}

// weight adds up what the supervisors and reapers weigh, in kB: their proportional share of memory.
const weight = `sum=0
for p in $(pgrep -x 'gantry-stage1|gantry-init'); do
  sum=$((sum + $(awk '$1 == "Pss:" { print $2 }' /proc/$p/smaps_rollup)))
done
echo $sum`

// onlySupervisors: with no command under way, gantry is one supervisor and one reaper a pod. Nothing waits for anything: there
// is no daemon.
func onlySupervisors(ctx context.Context, l *lab) (string, error) {
	processes, kB := 0, 0
	for _, h := range l.hosts {
		if err := h.settled(ctx); err != nil {
			return "", err
		}
		for name, n := range h.expected() {
			if strings.HasPrefix(name, "gantry") {
				processes += n
			}
		}
		out, err := h.sh(ctx, weight)
		if err != nil {
			return "", err
		}
		n, err := strconv.Atoi(out)
		if err != nil {
			return "", err
		}
		kB += n
	}
	pods := len(l.all())
	return fmt.Sprintf("%d supervisors and %d reapers for %d pods, together %.2f MB a pod (PSS), and no other process", processes/2, processes/2, pods, float64(kB)/1024/float64(pods)), nil
}

// collector is the service that runs gc all the while. What it could not do is in its journal, and theEnd looks.
const collector = `[Service]
ExecStart=/bin/sh -c 'while :; do gantry gc --grace-period=1h --expire-prepared=1h || echo gc failed; gantry image gc || echo image gc failed; sleep 3; done'
[Install]
WantedBy=multi-user.target
`

// litter leaves exited pods on every host, and starts the collector there.
func litter(ctx context.Context, l *lab) (string, error) {
	each := (l.exited + len(l.hosts) - 1) / len(l.hosts)
	start := time.Now()
	err := l.each(func(h *host) error {
		_, err := h.sh(ctx, fmt.Sprintf("seq %d | xargs -P 2 -I{} gantry run --net=none --pull-policy=never %s --exec=/bin/sidecar -- once", each, l.images["export"]))
		return err
	})
	if err != nil {
		return "", err
	}
	took := time.Since(start)
	start = time.Now()
	err = l.each(func(h *host) error {
		_, err := h.run(ctx, "gantry", "gc", "--grace-period=1h", "--expire-prepared=1h")
		return err
	})
	if err != nil {
		return "", err
	}
	gc := time.Since(start)
	err = l.each(func(h *host) error {
		if err := h.write("/etc/systemd/system/collector.service", collector); err != nil {
			return err
		}
		_, err := h.sh(ctx, "systemctl daemon-reload; systemctl enable --quiet --now collector")
		return err
	})
	return fmt.Sprintf("%d pods ran and ended (%.0f a second); gc that passes them by takes %.0f ms", each*len(l.hosts), float64(each*len(l.hosts))/took.Seconds(), ms(gc)), err
}

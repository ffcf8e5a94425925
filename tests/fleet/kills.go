package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"
)

// restart begins what is then killed at its moment, see catches.
const restart = `systemctl restart --no-block pod@$i`

// lingerer is the process that lingers in restartSlow.
const lingerer = "lingers"

// restartSlow is a restart in which the answer to one ADD of macvlan is long in coming, though the interface is made: a plugin that ends when it is
// done is a matter of milliseconds, and nobody sees it for certain on a busy machine. The plugin takes itself out of the way for the next pod.
const restartSlow = `mkdir -p /etc/gantry/slow /etc/gantry/paths.d
ln -sf /bin/sleep /etc/gantry/slow/` + lingerer + `
cat >/etc/gantry/slow/macvlan <<'END'
#!/bin/sh
out=$(/usr/libexec/gantry/cni/macvlan "$@"); code=$?
if [ "$CNI_COMMAND" = ADD ] && rm /etc/gantry/paths.d/slow.json; then /etc/gantry/slow/` + lingerer + ` 60; fi
printf '%s\n' "$out"; exit $code
END
chmod +x /etc/gantry/slow/macvlan
echo '{"kind": "paths", "version": "v1", "cni": ["/etc/gantry/slow"]}' >/etc/gantry/paths.d/slow.json
` + restart

// catches says by whose appearance beside the new supervisor the moment is known, and whether that one is to be killed, or the
// supervisor.
var catches = map[string]struct {
	names []string
	it    bool
}{
	"supervisor while a network is added": {[]string{lingerer}, false},
	"launcher of an app":                  {[]string{"gantry-launch"}, true},
	"supervisor while an app is launched": {[]string{"gantry-launch"}, false},
}

// killing is one way to kill something of gantry's at a bad moment. Those that hit a running pod say so: the pod has to come
// back.
type killing struct {
	name string
	pod  bool
	line string // of shell, on the host; $i: the instance, $p: its supervisor, $d: a moment in seconds, $extra: an image
}

var killings = []killing{
	{"supervisor", true, `kill -KILL $p`},
	{"app", true, `gantry kill --signal=KILL --app=$app $i`},
	{"reaper", true, `kill -KILL $(pgrep -P $p -x gantry-init)`},
	{"supervisor while a network is added", true, restartSlow},
	{"launcher of an app", true, restart},
	{"supervisor while an app is launched", true, restart},
	{"fetch", false, `gantry image rm $extra >/dev/null || :
gantry fetch --quiet $extra >/dev/null & sleep $d; kill -KILL $! || :; wait || :
gantry fetch --quiet $extra; gantry image verify $extra`},
	{"prepare", false, `gantry prepare --net=none --pull-policy=never $export >/dev/null & sleep $d; kill -KILL $! || :; wait || :`},
	{"gc", false, `for n in 1 2 3; do gantry prepare --net=none --pull-policy=never $export >/dev/null; done
gantry gc --grace-period=1h --expire-prepared=0s >/dev/null & sleep $d; kill -KILL $! || :; wait || :
gantry gc --grace-period=1h --expire-prepared=0s`},
}

// kills kills, one thing after the other, at random places and moments, and each time wants back what it hit.
func kills(ctx context.Context, l *lab) (string, error) {
	extra, err := l.extra()
	if err != nil {
		return "", err
	}
	random := rand.New(rand.NewPCG(1, uint64(l.settings.kills))) // #nosec: the same places each time
	var took []time.Duration
	var errs []error
	counts := map[string]int{}
	c := l.ask(ctx)
	for n := range l.settings.kills {
		k := killings[n%len(killings)]
		h := l.hosts[random.IntN(len(l.hosts))]
		i := h.instances[random.IntN(len(h.instances))]
		counts[k.name]++
		back, err := h.kill(ctx, k, i, extra, random)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s of %s on %s: %w", k.name, i.name, h.name, err))
		}
		if k.pod && err == nil {
			took = append(took, back)
		}
		if ctx.Err() != nil {
			break
		}
	}
	seen, _ := c.finish() // what a client loses when what serves it is killed is a figure
	for _, h := range l.hosts {
		errs = append(errs, h.settled(ctx), h.leased(ctx))
	}
	slices.Sort(took)
	figure := fmt.Sprintf("%d kills (%s)", l.settings.kills, tally(counts))
	if len(took) > 0 {
		figure += fmt.Sprintf("; ready and announced again at the same address after %.2f s in the median, %.2f s at most", took[len(took)/2].Seconds(), took[len(took)-1].Seconds())
	}
	figure += "; meanwhile " + seen
	return figure, errors.Join(append(errs, l.complete(ctx))...)
}

func tally(counts map[string]int) string {
	var out []string
	for _, k := range killings {
		out = append(out, fmt.Sprintf("%s %d", k.name, counts[k.name]))
	}
	return strings.Join(out, ", ")
}

// kill kills once. It returns how long the pod was away, from the kill until it was ready.
func (h *host) kill(ctx context.Context, k killing, i instance, extra string, random *rand.Rand) (time.Duration, error) {
	apps := []string{"route", "haproxy", "export", "app", "announce"}
	before, err := h.sh(ctx, "systemctl show --value -p MainPID -p NRestarts pod@"+i.name+"; cat /run/gantry/pod@"+i.name+".uuid")
	if err != nil {
		return 0, err
	}
	was := strings.Fields(before) // PID, restarts, UUID
	vars := fmt.Sprintf("i=%s p=%s d=%.3f app=%s extra=%s export=%s\n", i.name, was[0], random.Float64()*0.2, apps[random.IntN(len(apps))], extra, h.lab.images["export"])
	procs := "/sys/fs/cgroup/pids/" + h.Name() + "/system.slice/system-pod.slice/pod@" + i.name + ".service/cgroup.procs"
	old, err := members(procs)
	if err != nil {
		return 0, err
	}
	if _, err := h.sh(ctx, vars+k.line); err != nil {
		return 0, err
	}
	if c, ok := catches[k.name]; ok {
		if err := catch(ctx, procs, old, c.names, c.it); err != nil {
			return 0, err
		}
	}
	if !k.pod {
		return 0, nil
	}
	start := time.Now()
	var now []string
	err = await(ctx, 2*patience, "the pod", func() (bool, error) {
		out, err := h.sh(ctx, "systemctl show --value -p MainPID -p NRestarts -p ActiveState pod@"+i.name+"; cat /run/gantry/pod@"+i.name+".uuid")
		now = strings.Fields(out)
		return err == nil && len(now) == 4 && now[2] == "active" && now[0] != was[0] && now[3] != was[2], err
	})
	back := time.Since(start)
	if err != nil {
		return back, fmt.Errorf("%w: was %v, is %v", err, was, now)
	}
	if s, err := i.ask(ctx); err != nil || s.Instance != i.name {
		return back, fmt.Errorf("at its address answers %q: %w", s.Instance, err)
	}
	// A restart by hand begins the count anew, and one by itself adds to it: more than one means a start that failed.
	restarts, _ := strconv.Atoi(now[1])
	past, _ := strconv.Atoi(was[1])
	if restarts > past+1 {
		return back, fmt.Errorf("%d restarts, after %d before: the first new pod did not get what it needed", restarts, past)
	}
	left, err := h.sh(ctx, "find /sys/fs/cgroup /var/lib/gantry/pods /run/gantry -name '*"+was[2]+"*' 2>/dev/null || :") // what goes while find looks is no error
	if err == nil && left != "" {
		err = fmt.Errorf("of the pod before there is left: %s", left)
	}
	return back, err
}

// leased wants a lease for each pod of the host and no other, and no network device that is not the host's own.
func (h *host) leased(ctx context.Context) error {
	out, err := h.sh(ctx, "cd /run/gantry/leases/bond0 && ls | grep '^10'; ip -o link | wc -l")
	if err != nil {
		return err
	}
	var want []string
	for _, i := range h.instances {
		want = append(want, i.address)
	}
	want = append(want, "2") // lo, bond0
	got := strings.Fields(out)
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		return fmt.Errorf("%s: leases and number of links %v, not %v", h.name, got, want)
	}
	return nil
}

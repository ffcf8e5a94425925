package network

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/gantryrun/gantry/network/netlab"
	"github.com/gantryrun/gantry/network/rules"
	"github.com/gantryrun/gantry/tests/await"
)

// BenchmarkDefaultNetwork measures what the default network adds to a pod's start and end. Each pod's namespace has gone
// before the next begins, as what the kernel does then holds the lock that making a link needs.
func BenchmarkDefaultNetwork(b *testing.B) {
	for _, ports := range [][]string{nil, {"8080:80"}} {
		b.Run(fmt.Sprintf("ports=%d", len(ports)), func(b *testing.B) {
			h := lab(b)
			h.RunDir = b.TempDir()
			var loopback, attach, detach []time.Duration
			n := 0
			for b.Loop() {
				b.StopTimer()
				ns := netlab.New(b)
				a := attachment(b, fmt.Sprintf("pod-%d", n), "default", ports...)
				b.StartTimer()
				loopback = append(loopback, timed(b, func() error { return Loopback(ns.Path()) }))
				attach = append(attach, timed(b, func() error { _, err := h.Attach(context.Background(), a, ns.Path()); return err }))
				detach = append(detach, timed(b, func() error { return h.Detach(context.Background(), a, ns.Path()) }))
				b.StopTimer()
				ns.Close()
				gone(b)
				b.StartTimer()
				n++
			}
			report(b, map[string][]time.Duration{"loopback": loopback, "attach": attach, "detach": detach})
		})
	}
}

// report gives medians, which a busy machine disturbs less than means.
func report(b *testing.B, all map[string][]time.Duration) {
	for name, d := range all {
		slices.Sort(d)
		b.ReportMetric(float64(d[len(d)/2].Microseconds())/1000, name+"-ms")
	}
}

func timed(b *testing.B, f func() error) time.Duration {
	begin := time.Now()
	if err := f(); err != nil {
		b.Fatal(err)
	}
	return time.Since(begin)
}

// gone waits until no pod's link is left.
func gone(b *testing.B) {
	await.Success(b, "links to go", func() error {
		links, err := whole(netlink.LinkList)
		for _, l := range links {
			if strings.HasPrefix(l.Attrs().Name, rules.LinkPrefix) {
				err = fmt.Errorf("link %s is left", l.Attrs().Name)
			}
		}
		return err
	})
	time.Sleep(5 * time.Millisecond)
}

// BenchmarkAmongMany measures the attach and detach of one more pod where there are many. Its namespaces take long to go,
// so it runs when asked for: -bench AmongMany -benchtime 20x.
func BenchmarkAmongMany(b *testing.B) {
	for _, others := range []int{0, 250, 1000} {
		b.Run(fmt.Sprintf("others=%d", others), func(b *testing.B) {
			h := lab(b)
			pods := make([]*pod, others)
			for i := range pods {
				pods[i] = &pod{Namespace: netlab.New(b), Attachment: attachment(b, fmt.Sprintf("other-%d", i), "default", fmt.Sprintf("%d:80", 10000+i))}
				if _, err := h.Attach(context.Background(), pods[i].Attachment, pods[i].Path()); err != nil {
					b.Fatal(err)
				}
			}
			var attach, detach []time.Duration
			n := 0
			for b.Loop() {
				b.StopTimer()
				ns := netlab.New(b)
				a := attachment(b, fmt.Sprintf("pod-%d", n), "default", "8080:80")
				b.StartTimer()
				attach = append(attach, timed(b, func() error { _, err := h.Attach(context.Background(), a, ns.Path()); return err }))
				detach = append(detach, timed(b, func() error { return h.Detach(context.Background(), a, ns.Path()) }))
				b.StopTimer()
				ns.Close()
				time.Sleep(60 * time.Millisecond)
				b.StartTimer()
				n++
			}
			report(b, map[string][]time.Duration{"attach": attach, "detach": detach})
			for _, p := range pods {
				if err := h.Detach(context.Background(), p.Attachment, p.Path()); err != nil {
					b.Error(err)
				}
				p.Close()
			}
			gone(b)
		})
	}
}

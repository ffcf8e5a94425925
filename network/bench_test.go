package network

import (
	"context"
	"fmt"
	"testing"

	"github.com/gantryrun/gantry/network/netlab"
)

// BenchmarkDefaultNetwork measures what the default network adds to a pod's start and end.
func BenchmarkDefaultNetwork(b *testing.B) {
	for _, ports := range [][]string{nil, {"8080:80"}} {
		b.Run(fmt.Sprintf("ports=%d", len(ports)), func(b *testing.B) {
			h := lab(b)
			b.Run("attach", func(b *testing.B) {
				for i := 0; b.Loop(); i++ {
					b.StopTimer()
					ns := netlab.New(b)
					a := attachment(b, fmt.Sprintf("pod-%d", i), "default", ports...)
					b.StartTimer()
					if err := Loopback(ns.Path()); err != nil {
						b.Fatal(err)
					}
					if _, err := h.Attach(context.Background(), a, ns.Path()); err != nil {
						b.Fatal(err)
					}
					b.StopTimer()
					if err := h.Detach(context.Background(), a, ns.Path()); err != nil {
						b.Fatal(err)
					}
					ns.Close()
					b.StartTimer()
				}
			})
			b.Run("detach", func(b *testing.B) {
				for i := 0; b.Loop(); i++ {
					b.StopTimer()
					ns := netlab.New(b)
					a := attachment(b, fmt.Sprintf("pod-%d", i), "default", ports...)
					if _, err := h.Attach(context.Background(), a, ns.Path()); err != nil {
						b.Fatal(err)
					}
					b.StartTimer()
					if err := h.Detach(context.Background(), a, ns.Path()); err != nil {
						b.Fatal(err)
					}
					b.StopTimer()
					ns.Close()
					b.StartTimer()
				}
			})
		})
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
)

// theEnd stops everything, collects everything, and wants every host as it was before its first pod.
func theEnd(ctx context.Context, l *lab) (string, error) {
	var mu sync.Mutex
	var left []string
	err := l.each(func(h *host) error {
		_, err := h.run(ctx, append([]string{"systemctl", "disable", "--now", "--quiet", "collector"}, h.units()...)...)
		if err != nil {
			return err
		}
		said, err := h.sh(ctx, "journalctl --no-pager -o cat -u collector | grep failed || :")
		if err != nil {
			return err
		}
		if said != "" {
			return fmt.Errorf("gc failed in the course of all this: %s", said)
		}
		if _, err := h.sh(ctx, "gantry gc --grace-period=0s --expire-prepared=0s; gantry image gc --grace-period=0s; systemctl reset-failed"); err != nil {
			return err
		}
		leaks, err := h.leaks(ctx)
		mu.Lock()
		defer mu.Unlock()
		left = append(left, leaks...)
		return err
	})
	if len(left) > 0 {
		err = errors.Join(err, fmt.Errorf("left behind:\n%s", strings.Join(left, "\n")))
	}
	return fmt.Sprintf("%d leaks: processes, cgroups, mounts, namespaces, links, rules, leases, locks, directories", len(left)), err
}

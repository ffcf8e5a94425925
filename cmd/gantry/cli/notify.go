package cli

import (
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/gantryrun/gantry/image/order"
)

// unitProgress tells systemd, in a unit of Type=notify, how far the fetches of a pod's images are, and asks for time as
// long as bytes arrive: TimeoutStartSec= is about the start of the pod, not about the network.
type unitProgress struct {
	mu     sync.Mutex
	layers map[string]order.Event
	last   time.Time // when systemd was told
}

// extend is how long the unit may stay silent after each word of ours: longer than a registry may before the fetch fails.
const extend = 90 * time.Second

// underUnit says whether somebody listens.
func underUnit() bool { return os.Getenv("NOTIFY_SOCKET") != "" }

// event may be called from several goroutines. It speaks once a second.
func (p *unitProgress) event(ev order.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.layers == nil {
		p.layers = map[string]order.Event{}
	}
	if ev.Digest != "" && ev.Status != "exists" {
		p.layers[ev.Digest.String()] = ev
	}
	if time.Since(p.last) < time.Second {
		return
	}
	p.last = time.Now()
	_, _ = daemon.SdNotify(false, fmt.Sprintf("STATUS=%s\nEXTEND_TIMEOUT_USEC=%d", p.status(), extend.Microseconds()))
}

func (p *unitProgress) status() string {
	var done, total int64
	for _, l := range p.layers {
		done, total = done+l.Done, total+l.Total
	}
	if total == 0 {
		return "fetching"
	}
	return fmt.Sprintf("fetching %d%% (%s of %s)", done*100/total, size(done), size(total))
}

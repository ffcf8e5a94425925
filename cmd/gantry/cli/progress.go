package cli

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/term"

	"github.com/gantryrun/gantry/image/order"
	"github.com/gantryrun/gantry/pods/printable"
)

// progress says how far a fetch is: on a terminal in one line that is written over, elsewhere in a line for every layer
// that is done.
type progress struct {
	w        *os.File
	name     string
	terminal bool
	active   *atomic.Int32 // fetches at work: several would write over each other's line

	mu     sync.Mutex
	layers map[string]order.Event
	last   time.Time // when the terminal's line was written
	width  int       // of it
}

func newProgress(w *os.File, name string, active *atomic.Int32) *progress {
	active.Add(1)
	return &progress{w: w, name: printable.Text(name), terminal: term.IsTerminal(int(w.Fd())), active: active, layers: map[string]order.Event{}}
}

// event may be called from several goroutines.
func (p *progress) event(ev order.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := ev.Digest.String()
	before := p.layers[key]
	p.layers[key] = ev
	if p.terminal && p.active.Load() == 1 {
		p.draw(ev)
		return
	}
	if ev.Digest != "" && ev.Status == "done" && before.Status != "done" {
		fmt.Fprintf(p.w, "%s: layer %s: %s\n", p.name, shortID(key), size(ev.Total))
	}
}

// draw writes the line over, at most ten times a second.
func (p *progress) draw(ev order.Event) {
	if ev.Digest != "" && time.Since(p.last) < 100*time.Millisecond {
		return
	}
	p.last = time.Now()
	line := p.name + ": " + ev.Status
	if ev.Digest != "" {
		var done, total int64
		layers, ready := 0, 0
		for key, l := range p.layers {
			if key == "" {
				continue
			}
			layers++
			done, total = done+l.Done, total+l.Total
			if l.Status == "done" || l.Status == "exists" {
				ready++
			}
		}
		line = fmt.Sprintf("%s: %s of %s, %d of %d layers", p.name, size(done), size(total), ready, layers)
	}
	fmt.Fprintf(p.w, "\r%-*s", p.width, line)
	p.width = len(line)
}

// end leaves the terminal's line empty.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.active.Add(-1)
	if p.width > 0 {
		fmt.Fprintf(p.w, "\r%*s\r", p.width, "")
	}
}

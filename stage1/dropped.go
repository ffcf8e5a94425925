package stage1

import (
	"fmt"
	"time"

	"github.com/gantryrun/gantry/pods"
)

// dropped counts what of an app's output is not kept, and tells it in a file beside the log.
type dropped struct {
	pods.Dropped
	err   error     // of the first line that could not be written
	dirty bool      // the file does not say it all
	told  time.Time // when it was last written
}

// tellEvery bounds how often the file is written: each is a rename.
const tellEvery = time.Second

func (d *dropped) count(lines, bytes, journal uint64, err error) {
	d.Lines += lines
	d.Bytes += bytes
	d.Journal += journal
	if d.err == nil && err != nil {
		d.err = fmt.Errorf("output is lost: %w", err)
	}
	d.dirty = d.dirty || lines+bytes+journal > 0
}

// tell writes the file, unless that was just done or cannot be done: then a later one does.
func (d *dropped) tell(pod *pods.Pod, app string) {
	now := time.Now()
	if !d.dirty || now.Sub(d.told) < tellEvery {
		return
	}
	d.told = now
	if pod.WriteDropped(app, &d.Dropped) == nil {
		d.dirty = false
	}
}

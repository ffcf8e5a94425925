package fetch

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"syscall"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/image"
)

// room is what an image's missing layers need on disk, for whoever is told that the disk is full.
type room map[digest.Digest]*progress

// progress of a layer: of so many compressed bytes some have come in, and have become so many.
type progress struct {
	size    int64
	in, out atomic.Int64
}

// newRoom is for layers that may be missing.
func newRoom(layers []blobLayer) room {
	r := room{}
	for _, l := range layers {
		r[l.diffID] = &progress{size: l.desc.Size}
	}
	return r
}

// need estimates what the layers come to: what has come in of each says how much it grows, and where that is too little, what has
// come in of all.
func (r room) need() (bytes int64) {
	growth := func(in, out int64) float64 { return max(1, float64(out)/float64(max(1, in))) }
	var in, out int64
	for _, p := range r {
		in, out = in+p.in.Load(), out+p.out.Load()
	}
	for _, p := range r {
		own := growth(p.in.Load(), p.out.Load())
		if n := p.in.Load(); n < p.size && n < 1<<20 {
			own = growth(in, out)
		}
		bytes += int64(own * float64(p.size))
	}
	return bytes
}

// full says of a disk that is full, or a quota, what would be enough, instead of which write met it. What the fetch had taken has been given
// back by now.
func (j *job) full(err error) error {
	for _, full := range []syscall.Errno{unix.ENOSPC, unix.EDQUOT} {
		if errors.Is(err, full) {
			return fmt.Errorf("%w: %s", full, j.needed())
		}
	}
	return err
}

func (j *job) needed() string {
	for diffID := range j.room {
		if there, err := j.Store.HasLayer(diffID); err == nil && there {
			delete(j.room, diffID)
		}
	}
	need := j.room.need()
	if backend, _, err := j.Store.Backend(); err == nil && backend == image.Dir {
		need *= 2 // layers, and the tree that they are unpacked to
	}
	where := fmt.Sprintf("the image needs about %d bytes in %s", need, j.Store.Dir())
	if need == 0 {
		where = fmt.Sprintf("the image is there, but not the room for its record in %s", j.Store.Dir())
	}
	var st unix.Statfs_t
	if unix.Statfs(j.Store.Dir(), &st) == nil {
		where += fmt.Sprintf(", where %d are free", int64(st.Bavail)*st.Bsize)
	}
	return where
}

// tallyReader adds up what is read.
type tallyReader struct {
	r io.Reader
	n *atomic.Int64
}

func (t *tallyReader) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	t.n.Add(int64(n))
	return n, err
}

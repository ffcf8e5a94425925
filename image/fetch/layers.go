package fetch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/gantryrun/gantry/image"
	"github.com/gantryrun/gantry/image/layer"
	"github.com/gantryrun/gantry/image/order"
)

// parallelLayers at once: enough to keep the processors at work while some wait for the network or the disk; each
// takes 2 MB of buffers.
const parallelLayers = 4

// blobLayer is a layer as a manifest and a config describe it together.
type blobLayer struct {
	desc   ocispec.Descriptor
	diffID digest.Digest
}

// fetchLayers brings the layers that the store lacks, the largest first, so that none of them is left to run alone at
// the end. The first error ends all.
func (j *job) fetchLayers(parent context.Context) error {
	var todo, twins []blobLayer
	seen := map[digest.Digest]digest.Digest{}
	for i, diffID := range j.img.diffIDs {
		l := blobLayer{j.img.doc.manifest.Layers[i], diffID}
		switch first, again := seen[diffID]; {
		case !again:
			seen[diffID] = l.desc.Digest
			todo = append(todo, l)
		case first != l.desc.Digest:
			twins = append(twins, l)
		}
	}
	slices.SortStableFunc(todo, func(a, b blobLayer) int { return cmp.Compare(b.desc.Size, a.desc.Size) })
	j.room = newRoom(todo)
	group, ctx := errgroup.WithContext(parent)
	group.SetLimit(parallelLayers)
	for _, l := range todo {
		group.Go(func() error { return j.fetchLayer(ctx, l) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, l := range twins {
		if err := j.fetchTwin(parent, l); err != nil {
			return err
		}
	}
	return nil
}

// fetchTwin checks a blob that the config calls the same layer as another one: compressed twice, or something else.
func (j *job) fetchTwin(ctx context.Context, l blobLayer) error {
	kept, err := j.kept(l)
	if err != nil || (kept && !slices.Contains(j.fresh, l.diffID)) {
		return err
	}
	check := func(tar io.Reader) error {
		got, err := digest.FromReader(tar)
		if err == nil && got != l.diffID {
			err = fmt.Errorf("%w: content has diffID %s, not %s: the image's config does not match its layers", image.ErrVerify, got, l.diffID)
		}
		return err
	}
	if err := j.download(ctx, transfer{desc: l.desc, limits: j.Limits, fill: check, keep: !kept}); err != nil {
		return fmt.Errorf("layer %s: %w", l.desc.Digest, err)
	}
	return nil
}

// fetchLayer fetches one layer unless the store has it, and its compressed form too if that is to be kept.
func (j *job) fetchLayer(ctx context.Context, l blobLayer) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	t := transfer{desc: l.desc, limits: j.Limits, fill: discard}
	grown := j.room[l.diffID]
	commit := func() error { return nil }
	there, err := j.Store.HasLayer(l.diffID)
	if err != nil {
		return err
	}
	if !there {
		stage, err := j.Store.StageLayer(ctx, l.diffID)
		if err != nil {
			return err
		}
		if there = stage == nil; !there {
			defer stage.Abort() //nolint:errcheck // what an abort leaves, GC sweeps; the error to report is the one that led here
			t.in = &grown.in
			t.fill = func(tar io.Reader) error { return stage.Fill(&tallyReader{tar, &grown.out}, layer.Limits{}) }
			commit = stage.Commit
		}
	}
	kept, err := j.kept(l)
	if err != nil || (there && kept) {
		j.event(order.Event{Digest: l.desc.Digest, Status: "exists", Total: l.desc.Size})
		return err
	}
	t.keep = !kept
	if err := j.download(ctx, t); err != nil {
		return fmt.Errorf("layer %s: %w", l.desc.Digest, err)
	}
	if !there {
		j.brought(l.diffID) // also if its last sync fails: then it must not stay
	}
	if err := commit(); err != nil {
		return err
	}
	j.event(order.Event{Digest: l.desc.Digest, Status: "done", Done: l.desc.Size, Total: l.desc.Size})
	return nil
}

// kept says whether nothing has to be done to keep the compressed layer.
func (j *job) kept(l blobLayer) (bool, error) {
	if !j.opts.KeepBlobs {
		return true, nil
	}
	return j.Store.HasBlob(l.desc.Digest)
}

func (j *job) brought(diffID digest.Digest) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.fresh = append(j.fresh, diffID)
}

func discard(tar io.Reader) error {
	_, err := io.Copy(io.Discard, tar)
	return err
}

// transfer is a layer on its way.
type transfer struct {
	desc   ocispec.Descriptor
	limits Limits
	fill   func(tar io.Reader) error // takes what comes out, to its end
	keep   bool                      // store the bytes as they come as well
	in     *atomic.Int64             // counts what has come, if anybody wants to know
}

// download passes a layer, in one go, through: source, digest and size check, decompression, fill.
func (j *job) download(ctx context.Context, t transfer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // lets a goroutine go that still reads after an error
	body, err := j.src.blob(ctx, t.desc)
	if err != nil {
		return err
	}
	defer body.Close()
	compressed := j.counted(body, t.desc)
	if t.in != nil {
		compressed = &tallyReader{compressed, t.in}
	}
	if !t.keep {
		return t.unpack(compressed)
	}
	blob, err := j.Store.StageBlob(t.desc.Digest)
	if err != nil {
		return err
	}
	defer blob.Abort() //nolint:errcheck // as above
	if err := t.unpack(io.TeeReader(compressed, blob)); err != nil {
		return err
	}
	return blob.Commit()
}

// unpack verifies and decompresses.
func (t transfer) unpack(compressed io.Reader) error {
	how, err := compressionOf(t.desc.MediaType)
	if err != nil {
		return err
	}
	verified := newVerifiedReader(compressed, t.desc)
	tar, err := decompress(verified, how)
	if err == nil {
		err = t.fill(t.limits.cap(tar, t.desc.Size))
	}
	var broken *decodeError
	if err == nil || errors.As(err, &broken) {
		// Wrong bytes are the better explanation of what a decoder stumbles over. (Nobody else reads by now: the
		// decoder's error, or end, was the last thing that fill's reader saw.)
		return cmp.Or(verified.finish(), err)
	}
	return err
}

// counted reports progress as the bytes pass.
func (c *Client) counted(r io.Reader, desc ocispec.Descriptor) io.Reader {
	if c.Progress == nil {
		return r
	}
	return &countingReader{r: r, report: func(n int64) {
		c.event(order.Event{Digest: desc.Digest, Status: "downloading", Done: n, Total: desc.Size})
	}}
}

type countingReader struct {
	r      io.Reader
	report func(total int64)
	total  atomic.Int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if n > 0 {
		c.report(c.total.Add(int64(n)))
	}
	return n, err
}

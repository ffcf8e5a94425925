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
func (c *Client) fetchLayers(ctx context.Context, src source, img *resolved, opts Options) error {
	var todo []blobLayer
	seen := map[digest.Digest]bool{}
	for i, diffID := range img.diffIDs {
		if seen[diffID] {
			continue
		}
		seen[diffID] = true
		todo = append(todo, blobLayer{img.doc.manifest.Layers[i], diffID})
	}
	slices.SortStableFunc(todo, func(a, b blobLayer) int { return cmp.Compare(b.desc.Size, a.desc.Size) })
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelLayers)
	for _, l := range todo {
		group.Go(func() error { return c.fetchLayer(ctx, src, l, opts) })
	}
	return group.Wait()
}

func (c *Client) fetchLayer(ctx context.Context, src source, l blobLayer, opts Options) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	there, err := c.Store.HasLayer(l.diffID)
	if err != nil || there {
		c.event(Event{Digest: l.desc.Digest, Status: "exists", Total: l.desc.Size})
		return err
	}
	stage, err := c.Store.StageLayer(ctx, l.diffID)
	if err != nil || stage == nil {
		return err
	}
	defer stage.Abort() //nolint:errcheck // what an abort leaves, GC sweeps; the error to report is the one that led here
	if err := c.download(ctx, src, l, opts, func(tar io.Reader) error { return stage.Fill(tar, opts.Tar) }); err != nil {
		return fmt.Errorf("layer %s: %w", l.desc.Digest, err)
	}
	if err := stage.Commit(); err != nil {
		return err
	}
	c.event(Event{Digest: l.desc.Digest, Status: "done", Done: l.desc.Size, Total: l.desc.Size})
	return nil
}

// download passes a layer, in one go, through: source, digest and size check, decompression, fill.
func (c *Client) download(ctx context.Context, src source, l blobLayer, opts Options, fill func(io.Reader) error) error {
	how, err := compressionOf(l.desc.MediaType)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // lets a goroutine go that still reads after an error
	body, err := src.blob(ctx, l.desc)
	if err != nil {
		return err
	}
	defer body.Close()
	verified := newVerifiedReader(c.counted(body, l.desc), l.desc)
	tar, err := decompress(verified, how)
	if err == nil {
		err = fill(opts.Limits.cap(tar, l.desc.Size))
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
		c.event(Event{Digest: desc.Digest, Status: "downloading", Done: n, Total: desc.Size})
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

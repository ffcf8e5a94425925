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

// fetchLayer fetches one layer unless the store has it, and its compressed form too if that is to be kept.
func (c *Client) fetchLayer(ctx context.Context, src source, l blobLayer, opts Options) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	t := transfer{desc: l.desc, limits: opts.Limits, fill: discard}
	commit := func() error { return nil }
	there, err := c.Store.HasLayer(l.diffID)
	if err != nil {
		return err
	}
	if !there {
		stage, err := c.Store.StageLayer(ctx, l.diffID)
		if err != nil {
			return err
		}
		if there = stage == nil; !there {
			defer stage.Abort() //nolint:errcheck // what an abort leaves, GC sweeps; the error to report is the one that led here
			t.fill, commit = func(tar io.Reader) error { return stage.Fill(tar, opts.Tar) }, stage.Commit
		}
	}
	kept, err := c.kept(l, opts)
	if err != nil || (there && kept) {
		c.event(Event{Digest: l.desc.Digest, Status: "exists", Total: l.desc.Size})
		return err
	}
	t.keep = !kept
	if err := c.download(ctx, src, t); err != nil {
		return fmt.Errorf("layer %s: %w", l.desc.Digest, err)
	}
	if err := commit(); err != nil {
		return err
	}
	c.event(Event{Digest: l.desc.Digest, Status: "done", Done: l.desc.Size, Total: l.desc.Size})
	return nil
}

// kept says whether nothing has to be done to keep the compressed layer.
func (c *Client) kept(l blobLayer, opts Options) (bool, error) {
	if !opts.KeepBlobs {
		return true, nil
	}
	return c.Store.HasBlob(l.desc.Digest)
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
}

// download passes a layer, in one go, through: source, digest and size check, decompression, fill.
func (c *Client) download(ctx context.Context, src source, t transfer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // lets a goroutine go that still reads after an error
	body, err := src.blob(ctx, t.desc)
	if err != nil {
		return err
	}
	defer body.Close()
	compressed := c.counted(body, t.desc)
	if !t.keep {
		return t.unpack(compressed)
	}
	blob, err := c.Store.StageBlob(t.desc.Digest)
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

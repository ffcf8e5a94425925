package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// GCOptions of GC. Keep and InUse are called once, while nobody can take a Hold.
type GCOptions struct {
	// Keep returns the IDs of images that pods of any state were made from. nil keeps none.
	Keep func() (map[string]bool, error)
	// InUse returns the chain IDs of images that live pods stand on: their mounts stay. nil: none.
	InUse func() (map[string]bool, error)
	// Grace: what was used, or came to be, more recently stays.
	Grace time.Duration
	// Unused takes images with names too, once unused for Grace. Without it only nameless ones go.
	Unused bool
	// Images restricts GC to these IDs, and takes them without grace if they have no name. Used after Remove.
	Images []string
	// MaxSize in bytes: the longest unused images go, whatever their age, until what stays is no larger. 0: no limit.
	MaxSize int64
	// DryRun reports and deletes nothing.
	DryRun bool
}

// GCReport says what GC took away, or in a dry run would take.
type GCReport struct {
	Images  []string `json:"images"`  // IDs
	Layers  []string `json:"layers"`  // diffIDs
	Trees   []string `json:"trees"`   // chain IDs
	Blobs   int      `json:"blobs"`   // manifests, configs and kept layers
	Staging int      `json:"staging"` // unfinished downloads and deletions
	Mounts  int      `json:"mounts"`
	Freed   int64    `json:"freed"` // bytes of layers and indexes
}

// newGCReport has no nil slice, which would be null in JSON.
func newGCReport() GCReport {
	return GCReport{Images: []string{}, Layers: []string{}, Trees: []string{}}
}

// GC takes away what no pod and no name needs: records, then trees and layers that no other image shares, then what
// crashes left behind. It decides and renames under the exclusive lock, and deletes after it. It is idempotent, may be
// killed at any point, and needs no space to work. The report is valid as far as it goes when there is an error.
func (s *Store) GC(ctx context.Context, opts GCOptions) (GCReport, error) {
	if there, err := exists(s.imagesDir()); err != nil || !there {
		return newGCReport(), err
	}
	how := unix.LOCK_EX
	if opts.DryRun {
		how = unix.LOCK_SH
	}
	unlock, err := s.lock(ctx, how)
	if err != nil {
		return newGCReport(), err
	}
	c := &collector{Store: s, opts: opts, now: time.Now(), report: newGCReport()}
	err = c.collect(ctx)
	unlock()
	if err = errors.Join(err, c.emptyTrash()); err != nil {
		err = fmt.Errorf("collect garbage: %w", err)
	}
	return c.report, err
}

// Discard removes what of a draft is in the store after its Commit, or a fetch before it, failed for good: of the
// layers those given, tree and documents, each unless another image has it too. If the image is in the store after
// all, maybe by another name, it removes nothing.
func (s *Store) Discard(ctx context.Context, d Draft, diffIDs []digest.Digest) error {
	rec, err := d.record()
	if err != nil {
		return err
	}
	unlock, err := s.lock(ctx, unix.LOCK_EX)
	if err != nil {
		return err
	}
	c := &collector{Store: s, opts: GCOptions{Images: []string{rec.ID.String()}}, now: time.Now()}
	err = c.load(ctx)
	known := slices.ContainsFunc(c.images, func(img *Image) bool { return img.ID == rec.ID })
	if err == nil && !c.blind && !known {
		c.gone = []*Image{{ID: rec.ID, ChainID: rec.ChainID, DiffIDs: diffIDs, Manifest: rec.Manifest}}
		err = errors.Join(c.dropTrees(), c.dropLayers(), c.dropBlobs())
	}
	unlock()
	if err = errors.Join(err, c.emptyTrash()); err != nil {
		return fmt.Errorf("discard image %s: %w", rec.ID, err)
	}
	return nil
}

// collector is one run of GC.
type collector struct {
	*Store
	opts   GCOptions
	now    time.Time
	report GCReport

	keep, inUse map[string]bool
	images      []*Image // that stay
	gone        []*Image // that go
	blind       bool     // some record cannot be read: what it needs is not known
	astray      []string // names that lead to no record
	trash       []string
}

func (c *collector) collect(ctx context.Context) error {
	if err := c.ask(); err != nil {
		return err
	}
	if err := c.load(ctx); err != nil {
		return err
	}
	c.choose()
	err := c.dropRecords()
	err = errors.Join(err, c.dropMounts())
	if !c.blind {
		err = errors.Join(err, c.dropTrees(), c.dropLayers(), c.dropBlobs())
	}
	if len(c.opts.Images) == 0 {
		err = errors.Join(err, c.dropStaging(), c.dropTemporary())
	}
	return err
}

// ask the caller about pods. Without an answer nothing is safe to delete.
func (c *collector) ask() (err error) {
	if c.opts.Keep != nil {
		if c.keep, err = c.opts.Keep(); err != nil {
			return fmt.Errorf("find images that pods need: %w", err)
		}
	}
	if c.opts.InUse != nil {
		if c.inUse, err = c.opts.InUse(); err != nil {
			return fmt.Errorf("find images in use: %w", err)
		}
	}
	return nil
}

// load reads every record. One that is broken and that no name leads to is deleted with the others; while a name
// does, somebody has to decide (`image rm NAME`), and until then no layer can be known to be unused.
func (c *collector) load(ctx context.Context) error {
	ids, err := c.ids()
	if err != nil {
		return err
	}
	names, err := c.names()
	c.blind = err != nil
	for id, recs := range names {
		if !slices.Contains(ids, id) {
			for _, rec := range recs {
				c.astray = append(c.astray, rec.Name)
			}
		}
	}
	for _, id := range ids {
		if err := ctx.Err(); err != nil {
			return err
		}
		img, err := c.readImage(id)
		switch {
		case err == nil:
			img.addNames(names[id])
			c.images = append(c.images, img)
		case errors.Is(err, ErrCorrupt) && len(names[id]) == 0 && !c.keep[id.String()]:
			c.gone = append(c.gone, &Image{ID: id})
		default:
			c.blind = true
		}
	}
	return nil
}

// choose moves images from those that stay to those that go.
func (c *collector) choose() {
	slices.SortFunc(c.images, func(a, b *Image) int { return a.LastUsed.Compare(b.LastUsed) })
	idle := func(img *Image) bool {
		if c.keep[img.ID.String()] {
			return false
		}
		named := len(img.Names) > 0
		if len(c.opts.Images) > 0 {
			return !named && slices.Contains(c.opts.Images, img.ID.String())
		}
		return (!named || c.opts.Unused) && c.aged(img.LastUsed)
	}
	c.retire(idle)
	if c.opts.MaxSize > 0 && len(c.opts.Images) == 0 {
		c.retire(func(img *Image) bool { return !c.keep[img.ID.String()] && c.size() > c.opts.MaxSize })
	}
}

// retire asks about one image after the other, the longest unused first.
func (c *collector) retire(goes func(*Image) bool) {
	for _, img := range slices.Clone(c.images) {
		if goes(img) {
			c.images = slices.DeleteFunc(c.images, func(other *Image) bool { return other == img })
			c.gone = append(c.gone, img)
		}
	}
}

// size of what the images that stay hold, shared layers counted once.
func (c *collector) size() (total int64) {
	for d := range c.liveLayers() {
		if info, err := os.Stat(filepath.Join(c.layerDir(d), "tar")); err == nil {
			total += info.Size()
		}
	}
	return total
}

func (c *collector) liveLayers() map[digest.Digest]bool {
	live := map[digest.Digest]bool{}
	for _, img := range c.images {
		for _, d := range img.DiffIDs {
			live[d] = true
		}
	}
	return live
}

// aged: older than the grace period. A time in the future is a clock that jumped, and counts as now.
func (c *collector) aged(t time.Time) bool { return c.now.Sub(t) >= c.opts.Grace }

// lost holds what the images that go had: if no image that stays has it too, it goes without a grace of its own.
func lost(gone []*Image, of func(*Image) []digest.Digest) map[digest.Digest]bool {
	set := map[digest.Digest]bool{}
	for _, img := range gone {
		for _, d := range of(img) {
			set[d] = true
		}
	}
	return set
}

package image

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/opencontainers/go-digest"

	"github.com/gantryrun/gantry/pods/atomicfile"
)

// dropRecords takes the names, then the records, of images that go: a name never leads nowhere for long.
func (c *collector) dropRecords() error {
	var errs error
	for _, img := range c.gone {
		c.report.Images = append(c.report.Images, img.ID.String())
		if c.opts.DryRun {
			continue
		}
		_, err := c.unlinkNames(img.Names)
		errs = errors.Join(errs, err, remove(c.recordPath(img.ID)))
	}
	return errs
}

func (c *collector) stays(chain digest.Digest) bool {
	for _, img := range c.images {
		if img.ChainID == chain {
			return true
		}
	}
	return false
}

func (c *collector) dropTrees() error {
	freed := lost(c.gone, func(img *Image) []digest.Digest { return []digest.Digest{img.ChainID} })
	return c.sweep(c.imagesDir(), &c.report.Trees, "index", func(d digest.Digest) (stays, now bool) {
		return c.stays(d) || c.inUse[d.String()], freed[d]
	})
}

func (c *collector) dropLayers() error {
	live := c.liveLayers()
	freed := lost(c.gone, func(img *Image) []digest.Digest { return img.DiffIDs })
	return c.sweep(c.layersDir(), &c.report.Layers, "tar", func(d digest.Digest) (stays, now bool) {
		return live[d], freed[d]
	})
}

// sweep moves directories out of the way that nothing needs: those that verdict says go now, and others after the
// grace period, unless GC is about certain images only.
func (c *collector) sweep(dir string, report *[]string, main string, verdict func(digest.Digest) (stays, now bool)) error {
	list, err := entries(dir)
	for _, e := range list {
		d := digest.NewDigestFromEncoded(digest.SHA256, e.Name())
		if CheckDigest(d) != nil {
			continue
		}
		stays, now := verdict(d)
		if stays || (!now && (len(c.opts.Images) > 0 || !c.agedEntry(e))) {
			continue
		}
		*report = append(*report, d.String())
		path := filepath.Join(dir, e.Name())
		if info, err := os.Stat(filepath.Join(path, main)); err == nil {
			c.report.Freed += info.Size()
		}
		err = errors.Join(err, c.discard(path))
	}
	return err
}

func (c *collector) agedEntry(e fs.DirEntry) bool {
	info, err := e.Info()
	return err == nil && c.aged(info.ModTime())
}

// dropBlobs removes documents, and compressed layers that were kept, of no image that stays.
func (c *collector) dropBlobs() error {
	live := map[string]bool{}
	blobs := func(img *Image) []digest.Digest {
		list := []digest.Digest{img.ID, img.Manifest.Config.Digest}
		for _, l := range img.Manifest.Layers {
			list = append(list, l.Digest)
		}
		return list
	}
	for _, img := range c.images {
		for _, d := range blobs(img) {
			live[d.Encoded()] = true
		}
	}
	freed := lost(c.gone, func(img *Image) []digest.Digest {
		if img.ChainID == "" {
			return nil // its record could not be read
		}
		return blobs(img)
	})
	list, err := entries(c.blobsDir())
	for _, e := range list {
		now := freed[digest.NewDigestFromEncoded(digest.SHA256, e.Name())]
		if hidden(e.Name()) || live[e.Name()] || (!now && (len(c.opts.Images) > 0 || !c.agedEntry(e))) {
			continue
		}
		c.report.Blobs++
		if !c.opts.DryRun {
			err = errors.Join(err, remove(filepath.Join(c.blobsDir(), e.Name())))
		}
	}
	return err
}

// dropStaging takes what crashes left half-made, known by the lock that nobody holds, and half-deleted.
func (c *collector) dropStaging() error {
	var errs error
	for _, dir := range []string{c.layersDir(), c.imagesDir(), c.blobsDir()} {
		list, err := entries(dir)
		errs = errors.Join(errs, err)
		for _, e := range list {
			path := filepath.Join(dir, e.Name())
			switch {
			case strings.HasPrefix(e.Name(), trashPrefix):
				c.report.Staging++
				c.trash = append(c.trash, path)
			case strings.HasPrefix(e.Name(), stagePrefix):
				errs = errors.Join(errs, c.dropStage(path))
			case dir == c.imagesDir() && e.IsDir() && !c.inUse[digest.NewDigestFromEncoded(digest.SHA256, e.Name()).String()]:
				errs = errors.Join(errs, c.dropReplaced(path))
			}
		}
	}
	return errs
}

// dropReplaced takes the unpacked trees that have been replaced, now that no pod stands on them.
func (c *collector) dropReplaced(treeDir string) error {
	list, err := entries(treeDir)
	for _, e := range list {
		if strings.HasPrefix(e.Name(), trashPrefix) {
			c.report.Staging++
			c.trash = append(c.trash, filepath.Join(treeDir, e.Name()))
		}
	}
	return err
}

func (c *collector) dropStage(path string) error {
	f, err := os.Open(path)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if free, err := tryLock(f); err != nil || !free || sameFile(f, path) != nil {
		return err
	}
	c.report.Staging++
	return c.discard(path)
}

// dropTemporary takes what publish left when it was killed, or the power went: temporary files, and names that became
// durable before the record that they lead to. Whoever writes there holds the store's lock, shared.
func (c *collector) dropTemporary() error {
	if c.opts.DryRun {
		return nil
	}
	_, errs := c.unlinkNames(c.astray)
	for _, dir := range []string{c.blobsDir(), c.recordsDir(), c.namesDir()} {
		list, err := entries(dir)
		errs = errors.Join(errs, err)
		for _, e := range list {
			if strings.HasPrefix(e.Name(), atomicfile.Prefix) {
				errs = errors.Join(errs, remove(filepath.Join(dir, e.Name())))
			}
		}
	}
	return errs
}

// discard gives path a name that means nothing, to be deleted when the lock is gone.
func (c *collector) discard(path string) error {
	if c.opts.DryRun {
		return nil
	}
	to := filepath.Join(filepath.Dir(path), trashPrefix+strconv.FormatUint(rand.Uint64(), 36))
	if err := os.Rename(path, to); err != nil {
		return err
	}
	c.trash = append(c.trash, to)
	return nil
}

// emptyTrash deletes on all processors: what takes the time is the kernel letting go of the pages of large files.
func (c *collector) emptyTrash() error {
	if c.opts.DryRun {
		return nil
	}
	errs := make([]error, len(c.trash))
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(len(c.trash), runtime.GOMAXPROCS(0)) {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(c.trash)); i = next.Add(1) - 1 {
				errs[i] = os.RemoveAll(c.trash[i])
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// remove is os.Remove that does not mind another having been faster.
func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

package image

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/moby/sys/mountinfo"
	"github.com/opencontainers/go-digest"
)

// dropMounts unmounts images of this store that no live pod stands on. The kernel's list of mounts is what counts:
// it also has those whose image went while somebody kept them busy. Mounts of other stores are theirs.
func (c *collector) dropMounts() error {
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("erofs"))
	if err != nil {
		return fmt.Errorf("list mounts: %w", err)
	}
	known, err := c.mountPoints()
	if err != nil {
		return err
	}
	var errs error
	for _, m := range mounts {
		if filepath.Dir(m.Mountpoint) != c.mountsDir() {
			continue
		}
		chain, ok := known[m.Mountpoint]
		if !ok {
			chain, ok = c.chainOf(m.Source)
		}
		if !ok || c.inUse[chain.String()] || (len(c.opts.Images) > 0 && !c.goes(chain)) {
			continue
		}
		c.report.Mounts++
		if !c.opts.DryRun {
			errs = errors.Join(errs, unmount(m.Mountpoint), remove(m.Mountpoint))
		}
	}
	return errs
}

// mountPoints of every image that has a record.
func (c *collector) mountPoints() (map[string]digest.Digest, error) {
	points := map[string]digest.Digest{}
	for _, img := range append(append([]*Image{}, c.images...), c.gone...) {
		if img.ChainID == "" {
			continue // its record could not be read
		}
		point, err := c.mountPoint(img.ChainID)
		if err != nil {
			return nil, err
		}
		points[point] = img.ChainID
	}
	return points, nil
}

// chainOf reads the source of a mount: DIR/images/<chainID>/index, if DIR is this store.
func (c *collector) chainOf(source string) (digest.Digest, bool) {
	below, ok := strings.CutPrefix(source, c.imagesDir()+"/")
	hex, isIndex := strings.CutSuffix(below, "/index")
	chain := digest.NewDigestFromEncoded(digest.SHA256, hex)
	return chain, ok && isIndex && CheckDigest(chain) == nil
}

// goes: an image of this tree goes, and none of it stays.
func (c *collector) goes(chain digest.Digest) bool {
	for _, img := range c.gone {
		if img.ChainID == chain {
			return !c.stays(chain)
		}
	}
	return false
}

package image

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"

	"github.com/gantryrun/gantry/image/layer"
)

// checkLayer compares the size of a layer's tar with what its index says. ErrCorrupt: it is another, or there is no index.
func (s *Store) checkLayer(diffID digest.Digest) error {
	info, err := os.Stat(filepath.Join(s.layerDir(diffID), "tar"))
	if os.IsNotExist(err) {
		if there, _ := exists(s.layerDir(diffID)); there {
			err = fmt.Errorf("%w: layer %s has no tar", ErrCorrupt, diffID)
		}
	}
	if err != nil {
		return err
	}
	index, err := os.Open(filepath.Join(s.layerDir(diffID), "index"))
	if err != nil {
		return fmt.Errorf("%w: index of layer %s: %w", ErrCorrupt, diffID, err)
	}
	defer index.Close()
	size, err := layer.TarSize(index)
	if err != nil {
		return fmt.Errorf("%w: index of layer %s: %w", ErrCorrupt, diffID, err)
	}
	return sameSize(diffID, info.Size(), size)
}

func sameSize(diffID digest.Digest, got, want int64) error {
	if got == want {
		return nil
	}
	return fmt.Errorf("%w: the tar of layer %s has %d bytes, %d were stored: gantry fetch, or gantry image verify --repair, brings it again",
		ErrCorrupt, diffID, got, want)
}

// stageInstead stages a layer that takes the place of one that is not whole, unless another process was faster.
func (s *Store) stageInstead(ctx context.Context, diffID digest.Digest) (*LayerStage, error) {
	ls, err := s.stageAgain(ctx, diffID)
	if err == nil && s.checkLayer(diffID) == nil {
		return nil, stageError(diffID, ls.Abort())
	}
	if err == nil {
		ls.replaced = func() error { return s.remount(ctx, map[digest.Digest]bool{diffID: true}) }
	}
	return ls, err
}

// stageAgain stages a layer that takes the place of what is there.
func (s *Store) stageAgain(ctx context.Context, diffID digest.Digest) (*LayerStage, error) {
	st, err := openStage(ctx, s.layerDir(diffID), "")
	if err != nil {
		return nil, stageError(diffID, err)
	}
	st.again = true
	return newLayerStage(st, diffID)
}

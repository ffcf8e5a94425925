package runtime

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/gantryrun/gantry/pods"
)

// copyRoots copies the image of each app into the draft, where the pod is to do without overlays: as fetching would unpack it, with owners,
// extended attributes and hard links.
func (r *Runtime) copyRoots(ctx context.Context, draft *pods.Draft, req *Request, images []*usedImage) error {
	if !req.NoOverlay {
		return nil
	}
	for i, img := range images {
		if err := r.copyRoot(ctx, draft, req.Apps[i].Name, img); err != nil {
			return fmt.Errorf("app %s: %w", req.Apps[i].Name, err)
		}
	}
	return nil
}

func (r *Runtime) copyRoot(ctx context.Context, draft *pods.Draft, app string, img *usedImage) error {
	dir := filepath.Join(draft.Path(), pods.AppPath(app, ""))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	img.copied = true
	return r.Store.Extract(ctx, img.Image, filepath.Join(dir, "rootfs"))
}

package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gantryrun/gantry/image"
	"github.com/gantryrun/gantry/pods/printable"
	"github.com/gantryrun/gantry/runtime"
)

func newImageCommand(e *env) *cobra.Command {
	return newGroup("image", "Look after stored images", newImageListCommand(e), newImageInspectCommand(e), newImageCatManifestCommand(e), newImageRmCommand(e), newImageGCCommand(e), newImageVerifyCommand(e), newImageExportCommand(e),
		newImageTreeCommand(e, "extract"), newImageTreeCommand(e, "render"), newImageImportCommand(e))
}

// getImage finds the stored image that a verb's argument names.
func getImage(ctx context.Context, e *env, name string) (*runtime.Runtime, *image.Image, error) {
	ref, err := image.ParseRef(name)
	if err != nil {
		return nil, nil, usageError{err}
	}
	r, err := e.runtime()
	if err != nil {
		return nil, nil, err
	}
	i, err := r.Store.Get(ctx, ref)
	return r, i, err
}

func newImageCatManifestCommand(e *env) *cobra.Command {
	var pretty bool
	cmd := verb("cat-manifest [flags] IMAGE", "Print an image's manifest, byte for byte", between(1, 1))
	prettyVar(cmd.Flags(), &pretty, false)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		r, i, err := getImage(cmd.Context(), e, args[0])
		if err != nil {
			return err
		}
		data, err := r.Store.Blob(i.ID) // whose digest is the ID
		if err != nil {
			return err
		}
		if pretty {
			return writeJSON(e.stdout, json.RawMessage(data))
		}
		_, err = e.stdout.Write(data)
		return err
	}
	return cmd
}

func newImageRmCommand(e *env) *cobra.Command {
	cmd := verb("rm IMAGE...", "Remove images", between(1, math.MaxInt))
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return runImageRm(cmd.Context(), e, args) }
	return cmd
}

// runImageRm takes the names away, and then what nothing else needs.
func runImageRm(ctx context.Context, e *env, args []string) error {
	if err := needHost(); err != nil {
		return err
	}
	r, err := e.runtime()
	if err != nil {
		return err
	}
	var errs []error
	var ids []string
	for _, a := range args {
		ref, err := image.ParseRef(a)
		if err != nil {
			errs = append(errs, usageError{err})
			continue
		}
		if i, err := r.Store.Get(ctx, ref); err == nil {
			ids = append(ids, i.ID.String())
		} else if errors.Is(err, image.ErrCorrupt) {
			ids = append(ids, brokenIDs(ctx, r.Store, ref)...)
		}
		removed, err := r.Store.Remove(ctx, ref)
		for _, name := range removed {
			fmt.Fprintln(e.stdout, printable.Text(name))
		}
		errs = append(errs, err)
	}
	if len(ids) > 0 {
		_, err := r.ImageGC(ctx, image.GCOptions{Images: ids})
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// brokenIDs are those of images with a broken record that ref means.
func brokenIDs(ctx context.Context, s *image.Store, ref image.Ref) (ids []string) {
	list, _ := s.Broken(ctx)
	for _, i := range list {
		if slices.Contains(i.Names, ref.String()) || ref.Kind == image.ID && strings.HasPrefix(i.ID.Encoded(), ref.Prefix) {
			ids = append(ids, i.ID.String())
		}
	}
	return ids
}

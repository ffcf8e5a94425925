package cli

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gantryrun/gantry/image"
	"github.com/gantryrun/gantry/runtime"
)

func newImageCommand(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use: "image COMMAND", Short: "Look after stored images",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return withHint(usagef("unknown command %q", args[0]), "gantry image --help lists the commands")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newImageListCommand(e), newImageInspectCommand(e), newImageCatManifestCommand(e), newImageRmCommand(e), newImageGCCommand(e), newImageVerifyCommand(e), newImageExportCommand(e),
		newImageTreeCommand(e, "extract"), newImageTreeCommand(e, "render"), newImageImportCommand(e))
	return cmd
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
	cmd := verb("cat-manifest IMAGE", "Print an image's manifest, byte for byte", between(1, 1))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		r, i, err := getImage(cmd.Context(), e, args[0])
		if err != nil {
			return err
		}
		return e.printManifest(r, i)
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
	if err := needRoot(); err != nil {
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
			fmt.Fprintln(e.stdout, quoteControl(name))
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

package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gantryrun/gantry/image"
	"github.com/gantryrun/gantry/runtime"
	"github.com/gantryrun/gantry/runtime/bundle"
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
	cmd.AddCommand(newImageListCommand(e), newImageInspectCommand(e), newImageCatManifestCommand(e), newImageRmCommand(e), newImageGCCommand(e), newImageVerifyCommand(e), newImageExportCommand(e))
	for _, name := range []string{"extract", "render", "import"} {
		cmd.AddCommand(newNotYetCommand(name))
	}
	return cmd
}

type imageListOptions struct {
	full, noLegend              bool
	fields, format, sort, order string
}

func newImageListCommand(e *env) *cobra.Command {
	o := &imageListOptions{}
	cmd := verb("list [flags]", "List stored images", cobra.NoArgs)
	cmd.Aliases = []string{"ls"}
	fs := cmd.Flags()
	fs.BoolVar(&o.full, "full", false, "whole IDs and times")
	fs.BoolVar(&o.noLegend, "no-legend", false, "no line of column names")
	fs.StringVar(&o.fields, "fields", "", "columns: "+strings.Join(columnNames(imageColumns(false)), ","))
	fs.StringVar(&o.sort, "sort", "importtime", "by id, name, size, importtime or lastused")
	fs.StringVar(&o.order, "order", "asc", "asc or desc")
	fs.StringVar(&o.format, "format", "text", "text or json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return runImageList(cmd.Context(), e, o) }
	return cmd
}

// imageJSON is what --format=json says of an image.
type imageJSON struct {
	ID         string    `json:"id"`
	Names      []string  `json:"names"`
	Size       int64     `json:"size"`
	ImportTime time.Time `json:"importTime"`
	LastUsed   time.Time `json:"lastUsed"`
	Source     string    `json:"source,omitempty"`
	Verified   string    `json:"verified,omitempty"`
	Evidence   any       `json:"evidence,omitempty"`
	OS         string    `json:"os,omitempty"`
	Arch       string    `json:"arch,omitempty"`
	Layers     []string  `json:"layers"`
}

func toJSON(i *image.Image) imageJSON {
	j := imageJSON{
		ID: i.ID.String(), Names: i.Names, Size: i.Size, ImportTime: i.Fetched, LastUsed: i.LastUsed, Source: i.Source,
		Verified: i.Verified, OS: i.Config.OS, Arch: i.Config.Architecture, Layers: []string{},
	}
	if j.Names == nil {
		j.Names = []string{}
	}
	if i.Evidence != (image.Evidence{}) {
		j.Evidence = i.Evidence
	}
	for _, d := range i.DiffIDs {
		j.Layers = append(j.Layers, d.String())
	}
	return j
}

func imageColumns(full bool) []column[*image.Image] {
	when := ago
	if full {
		when = stampOrNothing
	}
	return []column[*image.Image]{
		{"id", func(i *image.Image) string {
			if full {
				return i.ID.String()
			}
			return shortID(i.ID.String())
		}},
		{"name", func(i *image.Image) string { return strings.Join(i.Names, ",") }},
		{"size", func(i *image.Image) string { return size(i.Size) }},
		{"importtime", func(i *image.Image) string { return when(i.Fetched) }},
		{"lastused", func(i *image.Image) string { return when(i.LastUsed) }},
		{"verified", func(i *image.Image) string { return i.Verified }},
		{"source", func(i *image.Image) string { return i.Source }},
		{"arch", func(i *image.Image) string { return i.Config.Architecture }},
	}
}

func runImageList(ctx context.Context, e *env, o *imageListOptions) error {
	if err := checkFormat(o.format); err != nil {
		return err
	}
	columns := imageColumns(o.full)
	t, err := newTable(columns, o.fields, o.noLegend)
	if err != nil {
		return err
	}
	compare, err := o.compare()
	if err != nil {
		return err
	}
	r, err := e.runtime()
	if err != nil {
		return err
	}
	images, err := r.Store.List(ctx)
	slices.SortStableFunc(images, compare)
	if isJSON(o.format) {
		list := []imageJSON{}
		for _, i := range images {
			list = append(list, toJSON(i))
		}
		return errors.Join(writeJSON(e.stdout, list), err)
	}
	shown := "id,name,size,importtime,lastused"
	if o.full {
		shown += ",verified"
	}
	printTable(e.stdout, t, columns, shown, images)
	return err // of the records that are broken; the others are listed
}

func (o *imageListOptions) compare() (func(a, b *image.Image) int, error) {
	var by func(a, b *image.Image) int
	switch o.sort {
	case "id":
		by = func(a, b *image.Image) int { return cmp.Compare(a.ID, b.ID) }
	case "name":
		by = func(a, b *image.Image) int { return cmp.Compare(a.Name(), b.Name()) }
	case "size":
		by = func(a, b *image.Image) int { return cmp.Compare(a.Size, b.Size) }
	case "importtime":
		by = func(a, b *image.Image) int { return a.Fetched.Compare(b.Fetched) }
	case "lastused":
		by = func(a, b *image.Image) int { return a.LastUsed.Compare(b.LastUsed) }
	default:
		return nil, usagef("--sort=%s: want id, name, size, importtime or lastused", o.sort)
	}
	switch o.order {
	case "asc":
		return by, nil
	case "desc":
		return func(a, b *image.Image) int { return by(b, a) }, nil
	}
	return nil, usagef("--order=%s: want asc or desc", o.order)
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

func newImageInspectCommand(e *env) *cobra.Command {
	cmd := verb("inspect IMAGE", "Show all that is known of an image, as JSON", cobra.ExactArgs(1))
	cmd.Flags().String("format", "json", "json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		_, i, err := getImage(cmd.Context(), e, args[0])
		if err != nil {
			return err
		}
		return writeJSON(e.stdout, struct {
			imageJSON
			ChainID  string `json:"chainID"`
			Config   any    `json:"config"`
			Manifest any    `json:"manifest"`
		}{toJSON(i), i.ChainID.String(), i.Config, i.Manifest})
	}
	return cmd
}

func newImageCatManifestCommand(e *env) *cobra.Command {
	cmd := verb("cat-manifest IMAGE", "Print an image's manifest, byte for byte", cobra.ExactArgs(1))
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
	cmd := verb("rm IMAGE...", "Remove images", cobra.MinimumNArgs(1))
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

func newImageGCCommand(e *env) *cobra.Command {
	o := image.GCOptions{Grace: 24 * time.Hour, Unused: true}
	cmd := verb("gc [flags]", "Remove images that no pod was made from and nobody used for long", cobra.NoArgs)
	fs := cmd.Flags()
	oneVar(fs, &o.Grace, "grace-period", "DURATION", "how long an unused image stays (default 24h)", parseDuration)
	oneVar(fs, &o.MaxSize, "max-size", "SIZE", "remove the longest unused until what stays is no larger", bundle.ParseBytes)
	fs.BoolVar(&o.DryRun, "dry-run", false, "only print what would be removed")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := needRoot(); err != nil {
			return err
		}
		r, err := e.runtime()
		if err != nil {
			return err
		}
		report, err := r.ImageGC(cmd.Context(), o)
		for _, id := range report.Images {
			fmt.Fprintln(e.stdout, id)
		}
		return err
	}
	return cmd
}

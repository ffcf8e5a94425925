package cli

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/gantryrun/gantry/image"
)

type imageListOptions struct {
	full, noLegend              bool
	fields, format, sort, order string
}

func newImageListCommand(e *env) *cobra.Command {
	o := &imageListOptions{}
	cmd := verb("list [flags]", "List stored images", between(0, 0))
	cmd.Aliases = []string{"ls"}
	fs := cmd.Flags()
	fs.BoolVar(&o.full, "full", false, "whole IDs and times")
	fs.BoolVar(&o.noLegend, "no-legend", false, "no line of column names")
	fs.StringVar(&o.fields, "fields", "", "columns: "+strings.Join(columnNames(imageColumns(false, nil)), ","))
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
	Size       int64     `json:"size"`   // of its layers
	Unique     int64     `json:"unique"` // of them, bytes that no other image has
	Shared     int64     `json:"shared"`
	ImportTime time.Time `json:"importTime"`
	LastUsed   time.Time `json:"lastUsed"`
	Source     string    `json:"source,omitempty"`
	Verified   string    `json:"verified,omitempty"`
	Evidence   any       `json:"evidence,omitempty"`
	OS         string    `json:"os,omitempty"`
	Arch       string    `json:"arch,omitempty"`
	Layers     []string  `json:"layers"`
	Broken     bool      `json:"broken,omitempty"` // its record cannot be read: only id and names are known
}

func toJSON(i *image.Image, use image.Usage) imageJSON {
	j := imageJSON{
		ID: i.ID.String(), Names: i.Names, Size: i.Size, Unique: use.Unique, Shared: use.Shared, ImportTime: i.Fetched, LastUsed: i.LastUsed, Source: i.Source,
		Verified: i.Verified, OS: i.Config.OS, Arch: i.Config.Architecture, Layers: []string{}, Broken: i.Broken,
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

func imageColumns(full bool, uses map[digest.Digest]image.Usage) []column[*image.Image] {
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
		{"size", func(i *image.Image) string {
			if i.Broken {
				return "broken"
			}
			return size(i.Size)
		}},
		{"unique", func(i *image.Image) string { return size(uses[i.ID].Unique) }},
		{"shared", func(i *image.Image) string { return size(uses[i.ID].Shared) }},
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
	t, err := newTable(imageColumns(o.full, nil), o.fields, o.noLegend)
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
	uses := r.Store.Usages(images)
	if err != nil { // those that are broken have a line too: what is not seen is not mended
		broken, _ := r.Store.Broken(ctx)
		images = append(images, broken...)
	}
	slices.SortStableFunc(images, compare)
	if isJSON(o.format) {
		list := []imageJSON{}
		for _, i := range images {
			list = append(list, toJSON(i, uses[i.ID]))
		}
		return errors.Join(writeJSON(e.stdout, list), err)
	}
	shown := "id,name,size,unique,importtime,lastused"
	if o.full {
		shown += ",verified"
	}
	printTable(e.stdout, t, imageColumns(o.full, uses), shown, images)
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

func newImageInspectCommand(e *env) *cobra.Command {
	cmd := verb("inspect IMAGE", "Show all that is known of an image, as JSON", between(1, 1))
	cmd.Flags().String("format", "json", "json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		r, i, err := getImage(cmd.Context(), e, args[0])
		if err != nil {
			return err
		}
		all, err := r.Store.List(cmd.Context())
		if err != nil {
			return err
		}
		return writeJSON(e.stdout, struct {
			imageJSON
			ChainID  string `json:"chainID"`
			Config   any    `json:"config"`
			Manifest any    `json:"manifest"`
		}{toJSON(i, r.Store.Usages(all)[i.ID]), i.ChainID.String(), i.Config, i.Manifest})
	}
	return cmd
}

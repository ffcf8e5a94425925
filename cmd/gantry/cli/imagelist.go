package cli

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
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
	fs.StringVar(&o.fields, "fields", "", "`COLUMN,...` of "+strings.Join(columnNames(imageColumns(false, nil)), ","))
	fs.StringVar(&o.sort, "sort", "importtime", "by `COLUMN,...`: id, name, size, importtime, lastused, latest")
	fs.StringVar(&o.order, "order", "asc", "`asc|desc`: the smallest first, or the greatest")
	formatVar(fs, &o.format)
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
		{"latest", latest},
	}
}

func runImageList(ctx context.Context, e *env, o *imageListOptions) error {
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

// latest says whether the image is what a name without a version means.
func latest(i *image.Image) string {
	return strconv.FormatBool(slices.ContainsFunc(i.Names, func(n string) bool { return strings.HasSuffix(n, ":latest") }))
}

func (o *imageListOptions) compare() (func(a, b *image.Image) int, error) {
	var by []func(a, b *image.Image) int
	for field := range strings.SplitSeq(o.sort, ",") {
		compare := compareBy(field)
		if compare == nil {
			return nil, usagef("--sort=%s: want some of id, name, size, importtime, lastused, latest", o.sort)
		}
		by = append(by, compare)
	}
	sign := map[string]int{"asc": 1, "desc": -1}[o.order]
	if sign == 0 {
		return nil, usagef("--order=%s: want asc or desc", o.order)
	}
	return func(a, b *image.Image) int {
		for _, compare := range by {
			if n := compare(a, b); n != 0 {
				return sign * n
			}
		}
		return 0
	}, nil
}

func compareBy(field string) func(a, b *image.Image) int {
	switch field {
	case "id":
		return func(a, b *image.Image) int { return cmp.Compare(a.ID, b.ID) }
	case "name":
		return func(a, b *image.Image) int { return cmp.Compare(a.Name(), b.Name()) }
	case "size":
		return func(a, b *image.Image) int { return cmp.Compare(a.Size, b.Size) }
	case "importtime":
		return func(a, b *image.Image) int { return a.Fetched.Compare(b.Fetched) }
	case "lastused":
		return func(a, b *image.Image) int { return a.LastUsed.Compare(b.LastUsed) }
	case "latest":
		return func(a, b *image.Image) int { return cmp.Compare(latest(a), latest(b)) }
	}
	return nil
}

func newImageInspectCommand(e *env) *cobra.Command {
	cmd := verb("inspect IMAGE", "Show all that is known of an image, as JSON", between(1, 1))
	jsonVar(cmd.Flags())
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

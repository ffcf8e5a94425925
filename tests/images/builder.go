package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"
	"github.com/klauspost/pgzip"

	"github.com/gantryrun/gantry/tests/ociimage"
	"github.com/gantryrun/gantry/tests/testimages"
)

// builder makes images in its directory:
//
//	tree/minbase, tree/<packages>  unpacked: minbase, and overlay upper directories on it
//	layer/NAME.tar[.gz|.zst]       the layers of these
//	oci/NAME                       the image as an OCI layout; oci/NAME.recipe is written last
//	registry/                      a registry's storage
type builder struct {
	dir string
}

// build makes the image of a recipe where it is not there already, and says whether it did.
func (b builder) build(ctx context.Context, r recipe) (bool, error) {
	stamp := filepath.Join(b.dir, "oci", r.Name+".recipe")
	want, err := json.Marshal(r)
	if err != nil {
		return false, err
	}
	if have, err := os.ReadFile(stamp); err == nil && string(have) == string(want) {
		return false, nil
	}
	tars, err := b.layers(ctx, r)
	if err != nil {
		return false, err
	}
	dir := filepath.Join(b.dir, "oci", r.Name)
	if err := os.RemoveAll(dir); err != nil {
		return false, err
	}
	for tag, suffix := range map[string]string{"1": ".gz", "1-zstd": ".zst"} {
		var layers []v1.Layer
		for _, t := range tars {
			l, err := compressed(t, suffix)
			if err != nil {
				return false, fmt.Errorf("compress %s: %w", t, err)
			}
			layers = append(layers, l)
		}
		img, err := ociimage.Image(r.Config, layers...)
		if err != nil {
			return false, err
		}
		if err := ociimage.WriteLayout(dir, img, tag); err != nil {
			return false, fmt.Errorf("write layout: %w", err)
		}
		if err := testimages.Push(ctx, b.dir, r.Name+":"+tag, img); err != nil {
			return false, fmt.Errorf("push: %w", err)
		}
	}
	return true, os.WriteFile(stamp, want, 0o644)
}

// layers returns the tars of a recipe's layers, lowest first.
func (b builder) layers(ctx context.Context, r recipe) ([]string, error) {
	if err := errors.Join(os.MkdirAll(filepath.Join(b.dir, "layer"), 0o755), os.MkdirAll(filepath.Join(b.dir, "tree"), 0o755),
		os.MkdirAll(filepath.Join(b.dir, "oci"), 0o755)); err != nil {
		return nil, err
	}
	base := b.layer("busybox")
	if !r.Minbase {
		entries, err := ociimage.BusyboxEntries()
		if err != nil {
			return nil, err
		}
		if err := writeEntries(base, entries); err != nil {
			return nil, err
		}
		return b.withFiles(r, []string{base})
	}
	base, err := b.minbase(ctx)
	if err != nil {
		return nil, err
	}
	tars := []string{base}
	for _, set := range r.Packages {
		tar, err := b.packages(ctx, set)
		if err != nil {
			return nil, fmt.Errorf("install %v: %w", set, err)
		}
		tars = append(tars, tar)
	}
	return b.withFiles(r, tars)
}

// withFiles puts the layer of the recipe's files on top, if it has any.
func (b builder) withFiles(r recipe, tars []string) ([]string, error) {
	if len(r.Files) == 0 {
		return tars, nil
	}
	var entries []ociimage.Entry
	for _, name := range slices.Sorted(maps.Keys(r.Files)) {
		e := ociimage.File(name, r.Files[name])
		if strings.HasPrefix(r.Files[name], "#!") {
			e.Mode = 0o755
		}
		entries = append(entries, e)
	}
	for i := range r.Many {
		// Half of it noise, half of it not: it compresses like programs do.
		body := fmt.Sprintf("%0896x", sha256.Sum256(fmt.Append(nil, r.Name, i)))
		for range 32 {
			body += fmt.Sprintf("%x", sha256.Sum256([]byte(body)))[:36]
		}
		entries = append(entries, ociimage.File(fmt.Sprintf("usr/share/many/%03d/%d", i/100, i), body))
	}
	top := b.layer("files-" + r.Name)
	return append(tars, top), writeEntries(top, entries)
}

func (b builder) layer(name string) string { return filepath.Join(b.dir, "layer", name+".tar") }

func writeEntries(file string, entries []ociimage.Entry) error {
	data, err := ociimage.Tar(entries...)
	if err != nil {
		return err
	}
	return os.WriteFile(file, data, 0o644)
}

// compressed is the layer of a tar file, compressed beside it; an existing file of the same tar is kept.
func compressed(file, suffix string) (v1.Layer, error) {
	mediaType := types.OCILayer
	if suffix == ".zst" {
		mediaType = types.OCILayerZStd
	}
	in, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	out := fmt.Sprintf("%s.%.12x%s", file, sha256.Sum256(in), suffix)
	if _, err := os.Stat(out); err != nil {
		if err := compress(out, suffix, in); err != nil {
			return nil, err
		}
	}
	return tarball.LayerFromFile(out, tarball.WithMediaType(mediaType))
}

func compress(out, suffix string, data []byte) error {
	f, err := os.OpenFile(out+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	var w io.WriteCloser
	if suffix == ".zst" {
		w, err = zstd.NewWriter(f)
	} else {
		w, err = pgzip.NewWriterLevel(f, 6)
	}
	if err != nil {
		return err
	}
	if _, err := w.Write(data); err != nil {
		return err
	}
	if err := errors.Join(w.Close(), f.Close()); err != nil {
		return err
	}
	return os.Rename(out+".new", out)
}

// command runs a program and shows its output only when it failed.
func command(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, out)
	}
	return nil
}

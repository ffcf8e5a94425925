package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/image/layer"
)

// The two forms of a tree, as they are called below images/<chainID>.
const (
	treeIndex = "index"
	treeFS    = "fs"
)

// ensureTree makes what the layers add up to, in the form of backend, unless it is there. The layers must be. What it
// makes is whole, whenever the power goes; only Commit promises that it stays, and syncs names.
func (s *Store) ensureTree(ctx context.Context, backend Backend, chain digest.Digest, diffIDs []digest.Digest) error {
	part := treeIndex
	if backend == Dir {
		part = treeFS
	}
	final := filepath.Join(s.treeDir(chain), part)
	if made, err := exists(final); err != nil || made {
		return err
	}
	if err := s.makeTree(ctx, final, final, diffIDs); err != nil {
		return fmt.Errorf("build tree of image layers %s: %w", chain, err)
	}
	return nil
}

// makeTree builds in images/.new-<chain>-<part> and renames to images/<chain>/<part>: one chain may have both parts,
// if the store is used with both backends. If done is there by then, another made it.
func (s *Store) makeTree(ctx context.Context, final, done string, diffIDs []digest.Digest) error {
	treeDir, part := filepath.Dir(final), filepath.Base(final)
	st, err := openStage(ctx, filepath.Join(s.imagesDir(), filepath.Base(treeDir)+"-"+part), done)
	if err != nil || st == nil {
		return err
	}
	defer st.abort() //nolint:errcheck // after commit nothing is left to fail; before, GC sweeps what stays
	merged, tars, err := s.merge(diffIDs)
	if err != nil {
		return err
	}
	defer closeAll(tars)
	if part == treeFS {
		err = unpackTree(ctx, merged, st.path(part), tars)
	} else {
		err = writeIndex(merged, st.path(part), tars)
	}
	if err != nil {
		return err
	}
	if err := os.MkdirAll(treeDir, 0o700); err != nil {
		return err
	}
	err = os.Rename(st.path(part), final)
	if errors.Is(err, fs.ErrExist) { // directories are in nobody's place; the new index is, and mounts keep the old one
		err = exchangeTree(st.path(part), final)
	}
	return err
}

// exchangeTree puts an unpacked tree in the place of another, which stays beside it under a name of what is being deleted: pods may
// stand on it, and GC knows when none does any more.
func exchangeTree(made, final string) error {
	beside := filepath.Join(filepath.Dir(final), trashPrefix+strconv.FormatUint(rand.Uint64(), 36))
	if err := os.Rename(made, beside); err != nil {
		return err
	}
	if err := unix.Renameat2(unix.AT_FDCWD, beside, unix.AT_FDCWD, final, unix.RENAME_EXCHANGE); err != nil {
		return &os.LinkError{Op: "exchange", Old: beside, New: final, Err: err}
	}
	return nil
}

// merge reads the layers' own indexes and opens their tars, lowest first.
func (s *Store) merge(diffIDs []digest.Digest) (tree *layer.Tree, tars []*os.File, err error) {
	defer func() {
		if err != nil {
			closeAll(tars)
		}
	}()
	layers := make([]*layer.Layer, len(diffIDs))
	for i, d := range diffIDs {
		if first := slices.Index(diffIDs, d); first < i {
			layers[i] = layers[first] // an image may have one layer a thousand times: it is in memory once
		} else if layers[i], err = s.readLayer(d); err != nil {
			return nil, tars, err
		}
		tar, err := os.Open(filepath.Join(s.layerDir(d), "tar"))
		if err != nil {
			return nil, tars, err
		}
		tars = append(tars, tar)
		info, err := tar.Stat()
		if err == nil {
			err = sameSize(d, info.Size(), layers[i].Size)
		}
		if err != nil {
			return nil, tars, err
		}
	}
	tree, err = layer.Merge(layers)
	return tree, tars, err
}

func (s *Store) readLayer(d digest.Digest) (*layer.Layer, error) {
	f, err := os.Open(filepath.Join(s.layerDir(d), "index"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	l, err := layer.Decode(f)
	if err != nil {
		return nil, fmt.Errorf("%w: index of layer %s: %w", ErrCorrupt, d, err)
	}
	return l, nil
}

func writeIndex(tree *layer.Tree, path string, tars []*os.File) error {
	f, err := createFile(path)
	if err != nil {
		return err
	}
	devices, err := tarDevices(tars)
	if err == nil {
		err = tree.WriteErofs(f, devices)
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func tarDevices(tars []*os.File) ([]layer.TarDevice, error) {
	devices := make([]layer.TarDevice, len(tars))
	for i, tar := range tars {
		info, err := tar.Stat()
		if err != nil {
			return nil, err
		}
		devices[i] = layer.TarDevice{Size: info.Size(), Data: tar}
	}
	return devices, nil
}

// unpackTree writes the tree as directories and files, and has the file system write all of it out: the rename that
// follows says that it is whole, also after a power cut.
func unpackTree(ctx context.Context, tree *layer.Tree, dir string, tars []*os.File) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if err := tree.Unpack(ctx, dir, tars); err != nil {
		return err
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(f.Fd())), f.Close())
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// Extract unpacks an image into dir, which must not exist. What it leaves when it fails is the caller's to remove.
func (s *Store) Extract(ctx context.Context, img *Image, dir string) error {
	merged, tars, err := s.merge(img.DiffIDs)
	if err != nil {
		return fmt.Errorf("extract image %s: %w", img.ID, err)
	}
	defer closeAll(tars)
	if err = os.Mkdir(dir, 0o755); err == nil {
		err = merged.Unpack(ctx, dir, tars)
	}
	if err != nil {
		return fmt.Errorf("extract image %s: %w", img.ID, err)
	}
	return nil
}

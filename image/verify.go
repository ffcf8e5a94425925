package image

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/gantryrun/gantry/image/layer"
)

// Problem is a file of the store that is not what it should be.
type Problem struct {
	Path string `json:"path"`
	What string `json:"what"`
	Part Part   `json:"part"`
	// Digest of what the file holds: of a layer, or an index of one, its diffID; of a merged index or a tree the chain ID.
	Digest digest.Digest `json:"digest"`
}

// Part of an image that may rot.
type Part string

// The parts, in the order in which they have to be right.
const (
	PartManifest   Part = "manifest"
	PartConfig     Part = "config"
	PartRecord     Part = "record"
	PartLayer      Part = "layer"
	PartLayerIndex Part = "layer index"
	PartBlob       Part = "kept blob"
	PartTree       Part = "merged index"
	PartUnpacked   Part = "unpacked tree"
)

// Verify reads all of an image's bytes again: documents and kept blobs against their digests, the record against the
// documents, layers against their diffIDs, and indexes, or the unpacked tree, against what the layers give. The error is ctx's, or that
// reading is impossible; what is wrong with the image comes as problems.
func (s *Store) Verify(parent context.Context, img *Image) ([]Problem, error) {
	v := &verifier{Store: s, img: img}
	v.documents()
	group, ctx := errgroup.WithContext(parent)
	group.SetLimit(2) // one decides nothing by itself: the processor is busy with hashing
	for _, d := range slices.Compact(slices.Sorted(slices.Values(img.DiffIDs))) {
		group.Go(func() error {
			v.layer(d)
			return ctx.Err()
		})
	}
	for _, l := range img.Manifest.Layers {
		group.Go(func() error {
			v.keptBlob(l)
			return ctx.Err()
		})
	}
	err := group.Wait()
	if err == nil && len(v.problems) == 0 { // of broken layers no index can be made
		err = v.tree(parent)
	}
	if err != nil {
		return nil, fmt.Errorf("verify image %s: %w", img.ID, err)
	}
	return v.problems, nil
}

type verifier struct {
	*Store
	img      *Image
	mu       sync.Mutex
	problems []Problem
}

func (v *verifier) problem(part Part, d digest.Digest, path string, what error) {
	if what != nil {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.problems = append(v.problems, Problem{path, what.Error(), part, d})
	}
}

// documents checks manifest and config, and that the record says what they say.
func (v *verifier) documents() {
	manifest, err := v.Blob(v.img.ID)
	v.problem(PartManifest, v.img.ID, v.blobPath(v.img.ID), err)
	configDigest := v.img.Manifest.Config.Digest
	config, cerr := v.Blob(configDigest)
	v.problem(PartConfig, configDigest, v.blobPath(configDigest), cerr)
	if err != nil || cerr != nil {
		return
	}
	rec, err := Draft{Manifest: manifest, Config: config, Name: "-"}.record()
	if err == nil && (rec.ChainID != v.img.ChainID || !slices.Equal(rec.DiffIDs, v.img.DiffIDs) ||
		!sameJSON(rec.Manifest, v.img.Manifest) || !sameJSON(rec.Config, v.img.Config)) {
		err = fmt.Errorf("%w: does not say what manifest and config say", ErrCorrupt)
	}
	v.problem(PartRecord, v.img.ID, v.recordPath(v.img.ID), err)
}

// sameJSON compares what a record would hold: "Labels": {} of a document is left out there.
func sameJSON(a, b any) bool {
	one, errA := json.Marshal(a)
	two, errB := json.Marshal(b)
	return errA == nil && errB == nil && bytes.Equal(one, two)
}

// layer checks a tar against its name, and its index against one made from it.
func (v *verifier) layer(d digest.Digest) {
	path := filepath.Join(v.layerDir(d), "tar")
	tar, err := os.Open(path)
	if err != nil {
		v.problem(PartLayer, d, path, err)
		return
	}
	defer tar.Close()
	hash := sha256.New()
	tee := io.TeeReader(tar, hash)
	scanned, err := layer.Scan(tee, layer.Limits{})
	_, rest := io.Copy(io.Discard, tee)
	if got := digest.NewDigest(digest.SHA256, hash); got != d {
		err = fmt.Errorf("%w: digest is %s", ErrCorrupt, got)
	}
	if err = errors.Join(err, rest); err != nil {
		v.problem(PartLayer, d, path, err)
		return
	}
	path = filepath.Join(v.layerDir(d), "index")
	var anew bytes.Buffer
	if err := scanned.Encode(&anew); err != nil {
		v.problem(PartLayerIndex, d, path, err)
		return
	}
	v.problem(PartLayerIndex, d, path, sameContent(path, &anew))
}

// keptBlob checks a compressed layer, if it was kept.
func (v *verifier) keptBlob(desc ocispec.Descriptor) {
	path := v.blobPath(desc.Digest)
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return
	}
	if err == nil {
		defer f.Close()
		var got digest.Digest
		if got, err = digest.FromReader(f); err == nil && got != desc.Digest {
			err = fmt.Errorf("%w: digest is %s", ErrCorrupt, got)
		}
	}
	v.problem(PartBlob, desc.Digest, path, err)
}

// tree compares what the image's layers add up to, in each form that is there, with what they give now.
func (v *verifier) tree(ctx context.Context) error {
	if err := v.form(ctx, PartTree, treeIndex, v.checkIndex); err != nil {
		return err
	}
	return v.form(ctx, PartUnpacked, treeFS, checkUnpacked)
}

type checkTree func(ctx context.Context, path string, merged *layer.Tree, tars []*os.File) error

func (v *verifier) form(ctx context.Context, part Part, name string, check checkTree) error {
	path := filepath.Join(v.treeDir(v.img.ChainID), name)
	there, err := exists(path)
	if err == nil && there {
		err = func() error {
			merged, tars, err := v.merge(v.img.DiffIDs)
			if err != nil {
				return err
			}
			defer closeAll(tars)
			return check(ctx, path, merged, tars)
		}()
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	v.problem(part, v.img.ChainID, path, err)
	return nil
}

// checkIndex makes an index anew, in a file without a name, and compares.
func (v *verifier) checkIndex(_ context.Context, path string, merged *layer.Tree, tars []*os.File) error {
	devices, err := tarDevices(tars)
	if err != nil {
		return err
	}
	anew, err := v.Scratch()
	if err != nil {
		return err
	}
	defer anew.Close()
	if err := merged.WriteErofs(anew, devices); err != nil {
		return err
	}
	if _, err := anew.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return sameContent(path, anew)
}

func checkUnpacked(ctx context.Context, path string, merged *layer.Tree, tars []*os.File) error {
	err := merged.Check(ctx, path, tars)
	if errors.Is(err, layer.ErrDiffers) {
		err = fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return err
}

// sameContent says where a file differs from what it should be.
func sameContent(path string, want io.Reader) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	a, b := make([]byte, 128<<10), make([]byte, 128<<10)
	for at := int64(0); ; {
		n, err := io.ReadFull(f, a)
		m, werr := io.ReadFull(want, b)
		if !bytes.Equal(a[:n], b[:m]) {
			return fmt.Errorf("%w: differs from what the layers give, at byte %d or after", ErrCorrupt, at)
		}
		if at += int64(n); err != nil || werr != nil {
			return nil // both have ended: they were equally long
		}
	}
}

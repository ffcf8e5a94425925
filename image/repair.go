package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Origin gives again what an image was made of. It may call a function that takes bytes more than once, from the
// beginning each time, and gives up when none of its calls returned nil.
type Origin interface {
	// Document returns a manifest or config; the store checks its digest.
	Document(ctx context.Context, d digest.Digest) ([]byte, error)
	// Layer gives the layer uncompressed; the store checks its diffID.
	Layer(ctx context.Context, desc ocispec.Descriptor, take func(tar io.Reader) error) error
	// Blob gives the bytes as they are, verified by their end.
	Blob(ctx context.Context, desc ocispec.Descriptor, take func(r io.Reader) error) error
}

// Repair puts right what Verify found: documents, layers and kept blobs come from the origin, records, indexes and unpacked
// trees are made anew. Nothing is changed in place: running pods keep what they have until they end, and pods that start from
// now on get what is whole, of other images with the same layers too. A nil error means that all of it is right, and
// on disk.
func (s *Store) Repair(ctx context.Context, img *Image, problems []Problem, from Origin) error {
	r := &repairer{Store: s, img: img, from: from, touched: map[digest.Digest]bool{}}
	err := r.repair(ctx, problems)
	if err = errors.Join(err, r.remount(ctx, r.touched)); err != nil {
		return fmt.Errorf("repair image %s: %w", img.ID, err)
	}
	return nil
}

type repairer struct {
	*Store
	img     *Image
	from    Origin
	touched map[digest.Digest]bool // diffIDs and chain IDs whose files are others now
}

func (r *repairer) repair(ctx context.Context, problems []Problem) error {
	for _, p := range problems {
		if p.Part == PartManifest || p.Part == PartConfig {
			if err := r.document(ctx, p.Digest); err != nil {
				return err
			}
		}
	}
	// With documents that were broken nobody has compared the record; with a record that was wrong, the layers that
	// were looked at may be none of the image's.
	v := &verifier{Store: r.Store, img: r.img}
	if v.documents(); len(v.problems) > 0 {
		if err := r.record(); err != nil {
			return err
		}
		var err error
		if problems, err = r.Verify(ctx, r.img); err != nil {
			return err
		}
	}
	// Kept blobs first: a layer can be made from them.
	slices.SortStableFunc(problems, func(a, b Problem) int { return order(a) - order(b) })
	for _, p := range problems {
		if err := r.part(ctx, p); err != nil {
			return fmt.Errorf("%s: %w", p.Path, err)
		}
	}
	return r.tree(ctx)
}

func order(p Problem) int {
	if p.Part == PartBlob {
		return 0
	}
	return 1
}

func (r *repairer) part(ctx context.Context, p Problem) error {
	switch p.Part {
	case PartLayer:
		r.touched[p.Digest] = true
		i := slices.Index(r.img.DiffIDs, p.Digest)
		return r.from.Layer(ctx, r.img.Manifest.Layers[i], func(tar io.Reader) error { return r.replaceLayer(ctx, p.Digest, tar) })
	case PartLayerIndex:
		return r.replaceLayerIndex(p.Digest)
	case PartBlob:
		i := slices.IndexFunc(r.img.Manifest.Layers, func(l ocispec.Descriptor) bool { return l.Digest == p.Digest })
		return r.from.Blob(ctx, r.img.Manifest.Layers[i], func(b io.Reader) error { return r.replaceBlob(p.Digest, b) })
	}
	return nil
}

// document replaces a manifest or config.
func (r *repairer) document(ctx context.Context, d digest.Digest) error {
	data, err := r.from.Document(ctx, d)
	if err != nil {
		return err
	}
	if got := digest.FromBytes(data); got != d {
		return fmt.Errorf("%w: document has digest %s, %s expected", ErrCorrupt, got, d)
	}
	if err := publish(newFile{path: r.blobPath(d), mode: 0o400, data: data}); err != nil {
		return err
	}
	return syncDir(r.blobsDir())
}

// record is made anew from the documents.
func (r *repairer) record() error {
	manifest, err := r.Blob(r.img.ID)
	if err != nil {
		return err
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(manifest, &m); err != nil {
		return fmt.Errorf("decode manifest: %w", err)
	}
	config, err := r.Blob(m.Config.Digest)
	if err != nil {
		return err
	}
	rec, err := Draft{Manifest: manifest, Config: config, Name: "-"}.record()
	if err != nil {
		return err
	}
	rec.Fetched = r.img.Fetched
	if rec.Size, err = r.layersSize(rec.DiffIDs); err != nil {
		return err
	}
	file, err := encodeRecord(r.recordPath(rec.ID), rec)
	if err == nil {
		err = publish(file)
	}
	if err == nil {
		err = syncDir(r.recordsDir())
	}
	if err != nil {
		return err
	}
	again, err := r.readImage(rec.ID)
	if err == nil {
		again.Names, r.img = r.img.Names, again
	}
	return err
}

func (r *repairer) replaceBlob(d digest.Digest, b io.Reader) error {
	stage, err := r.StageBlob(d)
	if err != nil {
		return err
	}
	defer stage.Abort() //nolint:errcheck // GC sweeps what stays
	if _, err := io.Copy(stage, b); err != nil {
		return err
	}
	return stage.Commit()
}

// tree looks at what the layers add up to, now that they are right.
func (r *repairer) tree(ctx context.Context) error {
	v := &verifier{Store: r.Store, img: r.img}
	err := v.tree(ctx)
	for _, p := range v.problems {
		part := treeIndex
		if p.Part == PartUnpacked {
			part = treeFS
		} else {
			r.touched[r.img.ChainID] = true
		}
		err = errors.Join(err, r.replaceTree(ctx, r.img, part))
	}
	return err
}

package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"
)

// ErrLayersMissing: layers of an image that is being committed are not (or no longer) in the store: stage them and
// commit again.
var ErrLayersMissing = errors.New("layers missing")

// Draft is an image whose layers are in the store, ready to be committed.
type Draft struct {
	// Manifest and Config as fetched; their digests have been checked against what named them.
	Manifest, Config []byte
	// Name that the image gets. The name, where it came from, and what it was verified by.
	Name, Source, Verified string
	Evidence               Evidence
	Caching                Caching
	// Root is what the name led to, if that can move: see Rollback. AllowRollback lets it lead back.
	Root          digest.Digest
	AllowRollback bool
}

// Commit makes an image of what was fetched: layers, tree, manifest and config are durable before the image's record
// and its name are written. When it returns nil the image survives a power cut. It is idempotent; GC is held off while
// it runs.
func (s *Store) Commit(ctx context.Context, d Draft) (*Image, error) {
	rec, err := d.record()
	if err != nil {
		return nil, fmt.Errorf("commit image %s: %w", d.Name, err)
	}
	if err := s.create(); err != nil {
		return nil, err
	}
	release, err := s.Hold()
	if err != nil {
		return nil, err
	}
	defer release()
	if err := s.commit(ctx, &rec, d); err != nil {
		return nil, fmt.Errorf("commit image %s: %w", d.Name, err)
	}
	img, err := s.readImage(rec.ID)
	if err != nil {
		return nil, err
	}
	img.Names = []string{d.Name}
	img.Source, img.Verified, img.Evidence, img.Caching = d.Source, d.Verified, d.Evidence, d.Caching
	return img, nil
}

func (s *Store) commit(ctx context.Context, rec *imageRecord, d Draft) error {
	size, err := s.layersSize(rec.DiffIDs)
	if err != nil {
		return err
	}
	rec.Size = size
	backend, _, err := s.Backend()
	if err != nil {
		return err
	}
	err = syncTogether(
		func() error { return s.ensureTree(ctx, backend, rec.ChainID, rec.DiffIDs) },
		func() error { return s.putDocuments(rec, d) },
	)
	if err != nil {
		return err
	}
	// Whoever made them: another process may have given the names just now.
	err = syncDirs(s.layersDir(), s.treeDir(rec.ChainID), s.imagesDir(), s.blobsDir())
	if err != nil {
		return err
	}
	record, err := encodeRecord(s.recordPath(rec.ID), rec)
	if err != nil {
		return err
	}
	earlier, err := s.history(d)
	if err != nil {
		return err
	}
	name, err := encodeRecord(s.namePath(d.Name), nameRecord{
		Version: recordVersion, Name: d.Name, ID: rec.ID, Fetched: rec.Fetched, Source: d.Source, Verified: d.Verified,
		Evidence: d.Evidence, Caching: d.Caching, Root: d.Root, Earlier: earlier,
	})
	if err != nil {
		return err
	}
	if err := publish(record, name); err != nil {
		return err
	}
	return syncDirs(s.recordsDir(), s.namesDir())
}

// putDocuments stores manifest and config as they came, unless they are there.
func (s *Store) putDocuments(rec *imageRecord, d Draft) error {
	var files []newFile
	for _, f := range []newFile{
		{path: s.blobPath(rec.ID), mode: 0o400, data: d.Manifest},
		{path: s.blobPath(rec.Manifest.Config.Digest), mode: 0o400, data: d.Config},
	} {
		there, err := exists(f.path)
		if err != nil {
			return err
		}
		if !there {
			files = append(files, f)
		}
	}
	return publish(files...)
}

// layersSize adds up the layers as stored, or says which are missing.
func (s *Store) layersSize(diffIDs []digest.Digest) (total int64, err error) {
	for _, d := range diffIDs {
		info, err := os.Stat(filepath.Join(s.layerDir(d), "tar"))
		if os.IsNotExist(err) {
			return 0, fmt.Errorf("%w: %s", ErrLayersMissing, d)
		}
		if err != nil {
			return 0, err
		}
		total += info.Size()
	}
	return total, nil
}

// record of a draft; whatever of it is not consistent is refused here, whoever fetched it.
func (d Draft) record() (imageRecord, error) {
	rec := imageRecord{Version: recordVersion, ID: digest.FromBytes(d.Manifest), Fetched: time.Now().UTC()}
	if err := json.Unmarshal(d.Manifest, &rec.Manifest); err != nil {
		return rec, fmt.Errorf("decode manifest: %w", err)
	}
	if err := json.Unmarshal(d.Config, &rec.Config); err != nil {
		return rec, fmt.Errorf("decode config: %w", err)
	}
	rec.DiffIDs = rec.Config.RootFS.DiffIDs
	switch {
	case d.Name == "":
		return rec, errors.New("no name")
	case rec.Manifest.Config.Digest != digest.FromBytes(d.Config):
		return rec, fmt.Errorf("config has digest %s, the manifest says %q", digest.FromBytes(d.Config), rec.Manifest.Config.Digest)
	case len(rec.DiffIDs) != len(rec.Manifest.Layers):
		return rec, fmt.Errorf("config has %d diff_ids, the manifest %d layers", len(rec.DiffIDs), len(rec.Manifest.Layers))
	}
	for _, id := range rec.DiffIDs {
		if err := CheckDigest(id); err != nil {
			return rec, err
		}
	}
	rec.ChainID = chainID(rec.DiffIDs)
	return rec, nil
}

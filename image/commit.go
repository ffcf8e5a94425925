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

	"github.com/gantryrun/gantry/pods/atomicfile"
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
	// Root is what the name led to, if that can move: see Rollback. AllowRollback lets it lead back.
	Root          digest.Digest
	AllowRollback bool
}

// Commit makes an image of what was fetched: its tree is built, then manifest and config, the image's record, and at
// last the name are written, each durable before the next. It is idempotent. GC is held off while it runs.
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
	img.Source, img.Verified, img.Evidence = d.Source, d.Verified, d.Evidence
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
	if err := s.ensureTree(ctx, backend, rec.ChainID, rec.DiffIDs); err != nil {
		return err
	}
	for _, blob := range []struct {
		digest digest.Digest
		data   []byte
	}{{rec.ID, d.Manifest}, {rec.Manifest.Config.Digest, d.Config}} {
		if there, err := exists(s.blobPath(blob.digest)); err != nil || there {
			if err != nil {
				return err
			}
			continue
		}
		if err := atomicfile.Write(s.blobPath(blob.digest), 0o400, blob.data, true); err != nil {
			return err
		}
	}
	if err := writeRecord(s.recordPath(rec.ID), rec); err != nil {
		return err
	}
	earlier, err := s.history(d)
	if err != nil {
		return err
	}
	name := nameRecord{
		Version: recordVersion, Name: d.Name, ID: rec.ID, Fetched: rec.Fetched, Source: d.Source, Verified: d.Verified,
		Evidence: d.Evidence, Root: d.Root, Earlier: earlier,
	}
	return writeRecord(s.namePath(d.Name), name)
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

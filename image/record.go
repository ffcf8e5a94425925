package image

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// recordVersion of both kinds of record. Another version is an error, never a guess.
const recordVersion = 1

// maxRecord bounds what is read back: a manifest and a config of 4 MiB each, re-encoded.
const maxRecord = 32 << 20

// imageRecord is refs/images/<hex>: all that `run` needs of an image in one read. It is made from the verified
// manifest and config, whose own bytes are in blobs/.
type imageRecord struct {
	Version  int              `json:"version"`
	ID       digest.Digest    `json:"id"`
	ChainID  digest.Digest    `json:"chainID"`
	DiffIDs  []digest.Digest  `json:"diffIDs"`
	Size     int64            `json:"size"`
	Fetched  time.Time        `json:"fetched"`
	Manifest ocispec.Manifest `json:"manifest"`
	Config   ocispec.Image    `json:"config"`
}

// nameRecord is refs/names/<escaped name>.
type nameRecord struct {
	Version  int           `json:"version"`
	Name     string        `json:"name"`
	ID       digest.Digest `json:"id"`
	Fetched  time.Time     `json:"fetched"`
	Source   string        `json:"source"`
	Verified string        `json:"verified"`
	Evidence Evidence      `json:"evidence,omitzero"`
	Caching  Caching       `json:"caching,omitzero"`
	// Root is what the name led to, an index or the image's manifest, and Earlier what it led to before, newest first.
	Root    digest.Digest   `json:"root,omitempty"`
	Earlier []digest.Digest `json:"earlier,omitempty"`
}

// readImage reads the record of one image. LastUsed is the record's modification time: Touch sets it without a write.
func (s *Store) readImage(id digest.Digest) (*Image, error) {
	var rec imageRecord
	mtime, err := readRecord(s.recordPath(id), &rec)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", ErrNotFound, id)
	}
	if err == nil && (rec.Version != recordVersion || rec.ID != id) {
		err = fmt.Errorf("%w: record %s: version %d, id %q", ErrCorrupt, s.recordPath(id), rec.Version, rec.ID)
	}
	if err == nil {
		err = checkDigests(append([]digest.Digest{rec.ChainID}, rec.DiffIDs...))
	}
	if err != nil {
		return nil, fmt.Errorf("read image: %w", err)
	}
	return &Image{
		ID: rec.ID, Manifest: rec.Manifest, Config: rec.Config, DiffIDs: rec.DiffIDs, ChainID: rec.ChainID,
		Size: rec.Size, Fetched: rec.Fetched, LastUsed: mtime,
	}, nil
}

// readName reads the record of a name.
func (s *Store) readName(name string) (nameRecord, error) {
	rec, err := s.readNameFile(s.namePath(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nameRecord{}, fmt.Errorf("%w: %s", ErrNotFound, name)
	}
	if err == nil && rec.Name != name {
		err = fmt.Errorf("read image name: %w: %s holds the name %q", ErrCorrupt, s.namePath(name), clip(rec.Name))
	}
	return rec, err
}

func (s *Store) readNameFile(path string) (nameRecord, error) {
	var rec nameRecord
	_, err := readRecord(path, &rec)
	if err == nil && rec.Version != recordVersion {
		err = fmt.Errorf("%w: %s: version %d", ErrCorrupt, path, rec.Version)
	}
	if err == nil {
		err = CheckDigest(rec.ID)
	}
	if err != nil {
		return nameRecord{}, fmt.Errorf("read image name: %w", err)
	}
	return rec, nil
}

// readRecord decodes one JSON document, strictly, and returns the file's modification time.
func readRecord(path string, into any) (time.Time, error) {
	f, err := os.Open(path)
	if err != nil {
		return time.Time{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return time.Time{}, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxRecord {
		return time.Time{}, fmt.Errorf("%w: %s is no record", ErrCorrupt, path)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxRecord))
	if err != nil {
		return time.Time{}, fmt.Errorf("read %s: %w", path, err)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return time.Time{}, fmt.Errorf("%w: %s: %w", ErrCorrupt, path, err)
	}
	return info.ModTime(), nil
}

// encodeRecord makes a file of a record.
func encodeRecord(path string, rec any) (newFile, error) {
	data, err := json.Marshal(rec)
	if err != nil {
		return newFile{}, fmt.Errorf("encode record: %w", err)
	}
	return newFile{path: path, mode: 0o600, data: append(data, '\n')}, nil
}

func checkDigests(list []digest.Digest) error {
	for _, d := range list {
		if err := CheckDigest(d); err != nil {
			return fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
	}
	return nil
}

package image

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
)

// maxDocument bounds manifests and configs read back from blobs/.
const maxDocument = 16 << 20

// Blob returns a stored manifest or config, verified against its digest. An error says no more than that the store
// cannot give it.
func (s *Store) Blob(d digest.Digest) ([]byte, error) {
	if err := CheckDigest(d); err != nil {
		return nil, err
	}
	f, err := os.Open(s.blobPath(d))
	if err != nil {
		return nil, fmt.Errorf("read blob: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxDocument))
	if err != nil {
		return nil, fmt.Errorf("read blob: %w", err)
	}
	if got := digest.FromBytes(data); got != d {
		return nil, fmt.Errorf("%w: blob %s has digest %s", ErrCorrupt, d, got)
	}
	return data, nil
}

// BlobStage is a compressed layer that is kept as it came: write it, then Commit, and Abort in any case.
type BlobStage struct {
	file  *os.File
	final string
	over  bool
}

// HasBlob says whether the bytes of d are kept. It does not look into them: see Verify.
func (s *Store) HasBlob(d digest.Digest) (bool, error) {
	if err := CheckDigest(d); err != nil {
		return false, err
	}
	return exists(s.blobPath(d))
}

// OpenBlob opens a kept blob, whose bytes are not verified. The caller closes it.
func (s *Store) OpenBlob(d digest.Digest) (io.ReadCloser, error) {
	if err := CheckDigest(d); err != nil {
		return nil, err
	}
	return os.Open(s.blobPath(d))
}

// StageBlob begins to keep a blob.
func (s *Store) StageBlob(d digest.Digest) (*BlobStage, error) {
	if err := CheckDigest(d); err != nil {
		return nil, err
	}
	if err := s.create(); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(s.blobsDir(), stagePrefix)
	if err != nil {
		return nil, fmt.Errorf("stage blob: %w", err)
	}
	b := &BlobStage{file: f, final: s.blobPath(d)}
	if free, err := tryLock(f); err != nil || !free { // GC was faster; it may have it
		return nil, errors.Join(fmt.Errorf("stage blob %s: not to be locked", d), err, b.Abort())
	}
	return b, nil
}

// Write adds to the blob.
func (b *BlobStage) Write(p []byte) (int, error) { return b.file.Write(p) }

// Commit puts the blob in its place, durably. The caller has verified what it wrote.
func (b *BlobStage) Commit() error {
	if err := errors.Join(b.file.Chmod(0o400), b.file.Sync()); err != nil {
		return fmt.Errorf("keep blob: %w", err)
	}
	if err := os.Rename(b.file.Name(), b.final); err != nil {
		return fmt.Errorf("keep blob: %w", err)
	}
	b.over = true
	b.file.Close()
	return syncDir(filepath.Dir(b.final))
}

// Abort frees what was not committed.
func (b *BlobStage) Abort() error {
	if b.over {
		return nil
	}
	b.over = true
	return errors.Join(os.Remove(b.file.Name()), b.file.Close())
}

package image

import (
	"fmt"
	"io"
	"os"

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

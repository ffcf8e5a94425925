package fetch

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantryrun/gantry/image"
)

// maxBlob is the largest size that a descriptor may state: a petabyte, far from where sums of sizes overflow.
const maxBlob = 1 << 50

// checkDescriptor refuses what must not become a path, a URL or a number to calculate with.
func checkDescriptor(desc ocispec.Descriptor) error {
	if err := image.CheckDigest(desc.Digest); err != nil {
		return err
	}
	if desc.Size < 0 || desc.Size > maxBlob {
		return fmt.Errorf("descriptor %s: impossible size %d", desc.Digest, desc.Size)
	}
	return nil
}

// verifiedReader passes bytes on and reports io.EOF only if there were exactly size of them, with the digest wanted.
// One who reads to io.EOF has read the blob; one who stops before knows nothing.
type verifiedReader struct {
	r    io.Reader
	hash hash.Hash
	desc ocispec.Descriptor
	n    int64
	err  error
}

func newVerifiedReader(r io.Reader, desc ocispec.Descriptor) *verifiedReader {
	return &verifiedReader{r: r, hash: sha256.New(), desc: desc}
}

func (v *verifiedReader) Read(p []byte) (int, error) {
	if v.err != nil {
		return 0, v.err
	}
	n, err := v.r.Read(p)
	v.n += int64(n)
	if v.n > v.desc.Size {
		v.err = fmt.Errorf("%w: blob %s has more than the %d bytes expected", image.ErrVerify, v.desc.Digest, v.desc.Size)
		return 0, v.err
	}
	v.hash.Write(p[:n])
	if errors.Is(err, io.EOF) {
		err = v.check()
	}
	v.err = err
	return n, err
}

func (v *verifiedReader) check() error {
	if v.n != v.desc.Size {
		return fmt.Errorf("%w: blob %s has %d bytes, %d expected", image.ErrVerify, v.desc.Digest, v.n, v.desc.Size)
	}
	if got := digest.NewDigest(digest.SHA256, v.hash); got != v.desc.Digest {
		return fmt.Errorf("%w: blob has digest %s, expected %s", image.ErrVerify, got, v.desc.Digest)
	}
	return io.EOF
}

// finish reads what is left; nil says that the whole blob was verified.
func (v *verifiedReader) finish() error {
	_, err := io.Copy(io.Discard, v)
	return err
}

// readVerified reads a small blob whole.
func readVerified(r io.Reader, desc ocispec.Descriptor, limit int64) ([]byte, error) {
	if desc.Size > limit {
		return nil, fmt.Errorf("blob %s of %d bytes is larger than the %d allowed", desc.Digest, desc.Size, limit)
	}
	return io.ReadAll(newVerifiedReader(r, desc))
}

package fetch

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantryrun/gantry/image"
	"github.com/gantryrun/gantry/image/inflate"
)

// Limits against decompression bombs. The zero value is the default.
type Limits struct {
	// MaxLayerSize in bytes, uncompressed: 1 TiB.
	MaxLayerSize int64
	// MaxRatio of uncompressed to compressed bytes, for layers that grow beyond RatioFrom bytes: 200, 1 GiB.
	MaxRatio, RatioFrom int64
}

const (
	defaultMaxLayer  = 1 << 40
	defaultMaxRatio  = 200
	defaultRatioFrom = 1 << 30
	zstdMaxWindow    = 128 << 20 // zstd --long=27; a frame may ask for 2 GiB
	inputBuffer      = 256 << 10
)

type compression int

const (
	uncompressed compression = iota
	gzipped
	zstded
)

// compressionOf a layer, by its media type. Types that are not tars are refused: a file system image that strangers
// made, above all, is nothing to mount.
func compressionOf(mediaType string) (compression, error) {
	switch mediaType {
	case ocispec.MediaTypeImageLayer, "application/vnd.oci.image.layer.nondistributable.v1.tar",
		"application/vnd.docker.image.rootfs.diff.tar":
		return uncompressed, nil
	case ocispec.MediaTypeImageLayerGzip, "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
		"application/vnd.docker.image.rootfs.diff.tar.gzip", "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip":
		return gzipped, nil
	case ocispec.MediaTypeImageLayerZstd, "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
		"application/vnd.docker.image.rootfs.diff.tar.zstd":
		return zstded, nil
	}
	return 0, fmt.Errorf("layer has media type %q: no tar that gantry knows", mediaType)
}

// decompress returns the bytes of a layer. They are read by one goroutine; nothing has to be closed.
func decompress(r io.Reader, how compression) (io.Reader, error) {
	switch how {
	case gzipped:
		return decoder{inflate.NewReader(r), "gzip"}, nil
	case zstded:
		// One goroutine, so that nothing outlives an aborted read.
		zr, err := zstd.NewReader(bufio.NewReaderSize(r, inputBuffer),
			zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(zstdMaxWindow), zstd.WithDecoderLowmem(true),
			zstd.IgnoreChecksum(true)) // the diffID says more
		if err != nil {
			return nil, decodeFailure("zstd", err)
		}
		return decoder{zr, "zstd"}, nil
	default:
		return r, nil
	}
}

// decoder tells errors of the decoder from those of what it reads.
type decoder struct {
	r    io.Reader
	name string
}

func (d decoder) Read(p []byte) (int, error) {
	n, err := d.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = decodeFailure(d.name, err)
	}
	return n, err
}

// decodeError: the bytes are no gzip or zstd stream, or not a whole one, or could not be read.
type decodeError struct {
	name string
	err  error
}

func (e *decodeError) Error() string { return "decompress " + e.name + ": " + e.err.Error() }
func (e *decodeError) Unwrap() error { return e.err }

func decodeFailure(name string, err error) error {
	switch {
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		err = fmt.Errorf("%w: window of more than %d bytes", image.ErrLimit, zstdMaxWindow)
	case errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF // an empty stream is no archive
	}
	return &decodeError{name, err}
}

// cap bounds what a layer of size compressed bytes may become.
func (l Limits) cap(r io.Reader, size int64) io.Reader {
	most := orDefault(l.MaxLayerSize, defaultMaxLayer)
	ratio := orDefault(l.MaxRatio, defaultMaxRatio)
	byRatio := max(orDefault(l.RatioFrom, defaultRatioFrom), size*ratio)
	if byRatio < most {
		return &cappedReader{r: r, left: byRatio, err: fmt.Errorf(
			"%w: layer grows beyond %d bytes, %d times its compressed size (MaxRatio)", image.ErrLimit, byRatio, ratio)}
	}
	return &cappedReader{r: r, left: most, err: fmt.Errorf("%w: layer grows beyond %d bytes (MaxLayerSize)", image.ErrLimit, most)}
}

func orDefault(n, d int64) int64 {
	if n <= 0 {
		return d
	}
	return n
}

// cappedReader fails with err once more than left bytes come.
type cappedReader struct {
	r    io.Reader
	left int64
	err  error
}

func (c *cappedReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if c.left -= int64(n); c.left < 0 {
		return 0, c.err
	}
	return n, err
}

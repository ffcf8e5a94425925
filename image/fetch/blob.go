package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantryrun/gantry/image"
)

// A blob that breaks off is continued where it stopped, as long as that leads on: so many times at most, and so many
// without a byte.
const (
	maxResumes     = 20
	maxIdleResumes = 3
)

// blobReader reads one blob, across connections that break.
//
//	open --bytes--> EOF or reset, short of size --Range--> 206 from exactly there: go on
//	                                                       200: read and drop what we have, go on
//	                                                       else: give up
//
// What it reads is verified by its user; it only sees to it that no more than twice the blob is ever transferred.
type blobReader struct {
	ctx  context.Context
	repo *repository
	desc ocispec.Descriptor

	body     io.ReadCloser
	n        int64 // bytes handed out
	received int64 // bytes transferred
	resumes  int
	idle     int // resumes since the last byte
}

func (b *blobReader) Read(p []byte) (int, error) {
	for {
		n, err := b.body.Read(p)
		b.n += int64(n)
		b.received += int64(n)
		if n > 0 {
			b.idle = 0
		}
		switch {
		case err == nil, errors.Is(err, io.EOF) && b.n >= b.desc.Size:
			return n, err
		case n > 0:
			return n, nil // and meet the error again
		}
		if err := b.resume(err); err != nil {
			return 0, err
		}
	}
}

// Close ends the transfer.
func (b *blobReader) Close() error { return b.body.Close() }

// open begins at byte n. What the registry answers is final; not to reach it is not.
func (b *blobReader) open() (final bool, err error) {
	ctx, cancel := context.WithCancelCause(context.WithValue(b.ctx, blobKey{}, true))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.repo.url("blobs", b.desc.Digest.String()), nil)
	if err != nil {
		cancel(nil)
		return true, err
	}
	if b.n > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", b.n))
	}
	resp, err := b.repo.client.Do(req)
	if err != nil {
		cancel(nil)
		return errors.Is(err, errForbidden), explain(b.repo.endpoint, err)
	}
	b.body = newStallReader(ctx, resp.Body, b.repo.pace.stall, cancel)
	if err := b.accept(resp); err != nil {
		b.body.Close()
		return true, err
	}
	return false, nil
}

// accept checks that the answer goes on where we are.
func (b *blobReader) accept(resp *http.Response) error {
	switch resp.StatusCode {
	case http.StatusOK:
		if length := resp.ContentLength; length >= 0 && length != b.desc.Size {
			return fmt.Errorf("%w: registry has %d bytes of blob %s, %d expected", image.ErrVerify, length, b.desc.Digest, b.desc.Size)
		}
		return b.skip()
	case http.StatusPartialContent:
		want := fmt.Sprintf("bytes %d-%d/%d", b.n, b.desc.Size-1, b.desc.Size)
		if got := resp.Header.Get("Content-Range"); b.n == 0 || got != want {
			return fmt.Errorf("%w: registry continues with %q, asked for %q", image.ErrVerify, got, want)
		}
		return nil
	}
	return explain(b.repo.endpoint, transport.CheckError(resp, http.StatusOK))
}

// skip drops what we have already, from a registry that does not know ranges.
func (b *blobReader) skip() error {
	if b.received+b.n > 2*b.desc.Size {
		return fmt.Errorf("the registry cannot continue a transfer, and breaks off each: %w", io.ErrUnexpectedEOF)
	}
	dropped, err := io.CopyN(io.Discard, b.body, b.n)
	b.received += dropped
	return err
}

// resume opens the blob again after cause; errors that say that it is in vain end it.
func (b *blobReader) resume(cause error) error {
	if errors.Is(cause, io.EOF) {
		cause = fmt.Errorf("broken off after %d of %d bytes: %w", b.n, b.desc.Size, io.ErrUnexpectedEOF)
	}
	for {
		if err := context.Cause(b.ctx); err != nil {
			return err
		}
		if b.resumes++; b.resumes > maxResumes || b.idle >= maxIdleResumes || errors.Is(cause, image.ErrStalled) {
			return cause
		}
		b.body.Close()
		if err := wait(b.ctx, b.repo.pace.backoff<<b.idle); err != nil {
			return err
		}
		b.idle++
		final, err := b.open()
		if err == nil || final {
			return err
		}
		cause = err
	}
}

// stallReader fails if a Read of its source waits for so long. It bounds the pause, never the whole: large blobs over
// slow lines take their time. Nor does it count while nobody reads: a disk that is slow is not the registry's fault.
type stallReader struct {
	ctx    context.Context
	body   io.ReadCloser
	timer  *time.Timer
	stall  time.Duration
	cancel context.CancelCauseFunc
}

// newStallReader watches body, which belongs to a request under ctx, which cancel ends. Close closes both.
func newStallReader(ctx context.Context, body io.ReadCloser, stall time.Duration, cancel context.CancelCauseFunc) *stallReader {
	timer := time.AfterFunc(stall, func() { cancel(image.ErrStalled) })
	timer.Stop()
	return &stallReader{ctx: ctx, body: body, timer: timer, stall: stall, cancel: cancel}
}

func (s *stallReader) Read(p []byte) (int, error) {
	s.timer.Reset(s.stall)
	n, err := s.body.Read(p)
	s.timer.Stop()
	if err != nil && errors.Is(context.Cause(s.ctx), image.ErrStalled) {
		err = fmt.Errorf("%w for %s", image.ErrStalled, s.stall)
	}
	return n, err
}

// Close may be called more than once, and while Read waits.
func (s *stallReader) Close() error {
	s.timer.Stop()
	s.cancel(nil)
	return s.body.Close()
}

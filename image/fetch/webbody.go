package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/gantryrun/gantry/image"
)

// webBody reads one file of the web, across connections that break. Nothing says beforehand what the file holds, so that only a server
// that names the file's state by a strong ETag, and its size, is asked to go on (RFC 9110, 13.1.5, If-Range).
//
//	get --bytes--> EOF or reset, short of size --Range, If-Range--> 206 from exactly there, the same ETag: go on
//	                                                                anything else: it breaks off
type webBody struct {
	ctx    context.Context
	site   *website
	url    string
	header http.Header // of the first request

	body    io.ReadCloser
	etag    string // empty: nobody can go on
	size    int64
	n       int64 // bytes handed out
	resumes int
	idle    int // resumes since the last byte
}

// newWebBody reads the answer to a request for url with header.
func newWebBody(ctx context.Context, site *website, url string, header http.Header, resp *http.Response) *webBody {
	b := &webBody{ctx: ctx, site: site, url: url, header: header, body: resp.Body, size: resp.ContentLength}
	if etag := resp.Header.Get("ETag"); strings.HasPrefix(etag, `"`) && resp.ContentLength > 0 && !resp.Uncompressed {
		b.etag = etag
	}
	return b
}

// Read implements io.Reader.
func (b *webBody) Read(p []byte) (int, error) {
	for {
		n, err := b.body.Read(p)
		if b.n += int64(n); n > 0 {
			b.idle = 0
		}
		switch {
		case err == nil, errors.Is(err, io.EOF) && (b.size < 0 || b.n >= b.size):
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
func (b *webBody) Close() error { return b.body.Close() }

// resume asks for the rest after cause.
func (b *webBody) resume(cause error) error {
	if errors.Is(cause, io.EOF) {
		cause = fmt.Errorf("broken off after %d of %d bytes: %w", b.n, b.size, io.ErrUnexpectedEOF)
	}
	for {
		if err := context.Cause(b.ctx); err != nil {
			return err
		}
		if b.resumes++; b.etag == "" || b.resumes > maxResumes || b.idle >= maxIdleResumes || errors.Is(cause, image.ErrStalled) {
			return cause
		}
		b.body.Close()
		if err := wait(b.ctx, b.site.pace.backoff<<b.idle); err != nil {
			return err
		}
		b.idle++
		header := b.header.Clone()
		header.Del("If-None-Match")
		header.Set("Range", fmt.Sprintf("bytes=%d-", b.n))
		header.Set("If-Range", b.etag)
		resp, err := b.site.get(b.ctx, b.url, true, header)
		if err == nil {
			b.body = resp.Body
			return b.accept(resp)
		}
		if errors.Is(err, image.ErrNotFound) || errors.Is(err, image.ErrDenied) || errors.Is(err, errForbidden) {
			return err
		}
		cause = err
	}
}

// accept checks that the answer goes on where we are, with what we have the beginning of.
func (b *webBody) accept(resp *http.Response) error {
	want := fmt.Sprintf("bytes %d-%d/%d", b.n, b.size-1, b.size)
	got, etag := resp.Header.Get("Content-Range"), resp.Header.Get("ETag")
	switch {
	case resp.StatusCode != http.StatusPartialContent:
		return fmt.Errorf("%w: %s has changed while it was downloaded, or its server cannot go on: fetch it again", image.ErrUnreachable, b.url)
	case b.n == 0 && got == "", got != want, etag != "" && etag != b.etag:
		return fmt.Errorf("%w: %s continues with %q, asked for %q", image.ErrVerify, b.site.endpoint.host, got, want)
	}
	return nil
}

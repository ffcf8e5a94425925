package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/gantryrun/gantry/image"
)

// Retries of one request before its body flows. A registry that is busy says so with 429 or 503, and often when to
// come back; we believe it up to a limit.
const (
	maxTries      = 4
	maxRetryAfter = 20 * time.Second
)

// pace of a conversation. Tests are in a hurry.
type pace struct {
	stall   time.Duration // longest pause of a server
	backoff time.Duration // first pause of ours, doubled from one try to the next
}

func (c *Client) pace() pace {
	p := pace{stall: c.Stall, backoff: c.backoff}
	if p.stall <= 0 {
		p.stall = time.Minute
	}
	if p.backoff <= 0 {
		p.backoff = 250 * time.Millisecond
	}
	return p
}

// retrier repeats requests that failed for reasons that pass. What is small (all but blobs) it reads whole, so that a
// document that breaks off is asked for again as well.
type retrier struct {
	inner http.RoundTripper
	pace  pace
}

func (r *retrier) RoundTrip(req *http.Request) (*http.Response, error) {
	backoff := r.pace.backoff
	for try := 1; ; try++ {
		resp, err := r.try(req)
		pause, again := retryable(resp, err)
		if !again || try == maxTries || req.Method != http.MethodGet || req.Context().Err() != nil {
			return resp, err
		}
		if resp != nil {
			resp.Body.Close()
		}
		if pause == 0 {
			pause = backoff
		}
		backoff *= 2
		if err := wait(req.Context(), min(pause, maxRetryAfter)); err != nil {
			return nil, err
		}
	}
}

// errBroken: an answer that broke off.
var errBroken = errors.New("broken off")

// try makes one request. What a ping says, and what more a server says of an error, nobody waits for.
func (r *retrier) try(req *http.Request) (*http.Response, error) {
	if req.Context().Value(blobKey{}) != nil || strings.HasSuffix(req.URL.Path, "/v2/") {
		return r.inner.RoundTrip(req)
	}
	ctx, cancel := context.WithCancelCause(req.Context())
	resp, err := r.inner.RoundTrip(req.WithContext(ctx))
	if err != nil {
		cancel(nil)
		return nil, err
	}
	body := newStallReader(ctx, resp.Body, r.pace.stall, cancel)
	if resp.StatusCode != http.StatusOK {
		resp.Body = body
		return resp, nil
	}
	defer body.Close()
	data, err := io.ReadAll(body) // bounded by the guard
	switch {
	case err == nil:
		resp.Body = io.NopCloser(bytes.NewReader(data))
		return resp, nil
	case errors.Is(err, image.ErrLimit), errors.Is(err, image.ErrStalled), req.Context().Err() != nil:
		return nil, err
	}
	return nil, fmt.Errorf("%w: %w", errBroken, err)
}

// retryable says whether trying again may help, and the pause that the server asks for, if it does.
func retryable(resp *http.Response, err error) (pause time.Duration, again bool) {
	if err != nil {
		// A connection that broke, often an idle one that the server had closed. Nobody there is an answer.
		return 0, errors.Is(err, errBroken) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
			errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
	}
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusBadGateway, http.StatusGatewayTimeout,
		http.StatusInternalServerError, http.StatusRequestTimeout:
		return retryAfter(resp.Header.Get("Retry-After"), time.Now()), true
	}
	return 0, false
}

// retryAfter reads seconds or a date (RFC 9110, 10.2.3); 0 if it is neither.
func retryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(value, 10, 32); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil && at.After(now) {
		return at.Sub(now)
	}
	return 0
}

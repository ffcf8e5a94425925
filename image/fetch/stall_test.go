package fetch

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"
)

// TestSlowReader: who is slow to read, because the disk is, finds the transfer alive.
func TestSlowReader(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	r := newStallReader(ctx, io.NopCloser(strings.NewReader("whole")), time.Millisecond, cancel)
	defer r.Close()
	one := make([]byte, 1)
	for range 5 {
		time.Sleep(20 * time.Millisecond) // longer than the server may take
		if _, err := r.Read(one); err != nil || context.Cause(ctx) != nil {
			t.Fatalf("%v, %v", err, context.Cause(ctx))
		}
	}
}

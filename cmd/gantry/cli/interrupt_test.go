package cli

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// A signal that came before the signals were given back is told, however shortly before.
func TestGiveBack(t *testing.T) {
	runtime.LockOSThread() // on this thread the handler has run when tgkill returns
	defer runtime.UnlockOSThread()
	for range 100 {
		ctx, i := catchInterrupts(t.Context())
		if err := unix.Tgkill(unix.Getpid(), unix.Gettid(), unix.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if err := i.giveBack(); !errors.Is(err, context.Canceled) {
			t.Fatalf("it is lost: %v", err)
		}
		if ctx.Err() == nil || i.caught() != unix.SIGTERM {
			t.Fatalf("context: %v, signal: %v", ctx.Err(), i.caught())
		}
	}
	ctx, i := catchInterrupts(t.Context())
	for range 2 {
		if err := i.giveBack(); err != nil {
			t.Errorf("nobody interrupted: %v", err)
		}
	}
	if ctx.Err() != nil || i.caught() != nil {
		t.Errorf("context: %v, signal: %v", ctx.Err(), i.caught())
	}
}

func TestInterrupted(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want string
	}{
		{context.Canceled, "interrupted by SIGTERM"},
		{errors.Join(context.Canceled, nil), "interrupted by SIGTERM"},
		{fmt.Errorf("fetch x: %w", context.Canceled), "fetch x: context canceled: interrupted by SIGTERM"},
	} {
		if got := interrupted(tt.err, unix.SIGTERM).Error(); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}

package stage1

import (
	"context"
	"fmt"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestUndoRunsInReverseAndNamesWhatFailed(t *testing.T) {
	var s undoStack
	var order []string
	for i, fails := range []bool{false, true, false} {
		name := fmt.Sprint(i)
		s.push(name, func(ctx context.Context) error {
			order = append(order, name)
			if fails {
				return io.ErrUnexpectedEOF
			}
			return ctx.Err()
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // the pod was interrupted: that must not stop the clean-up
	failed, err := s.run(ctx)
	if diff := cmp.Diff([]string{"2", "1", "0"}, order); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"1"}, failed); diff != "" || err == nil {
		t.Error(diff, err)
	}
}

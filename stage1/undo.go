package stage1

import (
	"context"
	"errors"
	"fmt"
)

// undoStack remembers how to take back what was made, in reverse order. It is a courtesy to the next pod: gc does
// the same from disk.
type undoStack struct {
	steps []undoStep
}

type undoStep struct {
	name string
	undo func(context.Context) error
}

// push comes on the line after the acquisition.
func (s *undoStack) push(name string, undo func(context.Context) error) {
	s.steps = append(s.steps, undoStep{name, undo})
}

// run takes everything back, goes on after an error, and names the steps that failed.
func (s *undoStack) run(ctx context.Context) (failed []string, err error) {
	ctx = context.WithoutCancel(ctx)
	var errs []error
	for len(s.steps) > 0 {
		last := s.steps[len(s.steps)-1]
		s.steps = s.steps[:len(s.steps)-1]
		if err := last.undo(ctx); err != nil {
			failed = append(failed, last.name)
			errs = append(errs, fmt.Errorf("undo %s: %w", last.name, err))
		}
	}
	return failed, errors.Join(errs...)
}

package order

import (
	"encoding/json"
	"errors"
	"fmt"
	"syscall"
	"testing"

	"github.com/gantryrun/gantry/image"
)

// What an error is, it is on the other side too, in the same words; and nothing else.
func TestFailure(t *testing.T) {
	for name, target := range names {
		err := errors.Join(errors.New("before"), fmt.Errorf("fetch x: %w: \xff more", target))
		data, jsonErr := json.Marshal(answer{Error: failure(err)})
		var got answer
		if jsonErr = errors.Join(jsonErr, json.Unmarshal(data, &got)); jsonErr != nil {
			t.Fatal(jsonErr)
		}
		if !errors.Is(fmt.Errorf("more: %w", got.Error), target) || errors.Is(got.Error, image.ErrStalled) != errors.Is(target, image.ErrStalled) {
			t.Errorf("%s: %s", name, data)
		}
	}
	err := fmt.Errorf("write: %w", syscall.EACCES)
	if f := failure(err); f.Error() != err.Error() || len(f.Kinds) != 1 || f.Kinds[0] != "permission" {
		t.Errorf("%+v", f)
	}
	if f := (&failed{Text: "of tomorrow", Kinds: []string{"tomorrow"}}); errors.Is(f, image.ErrCorrupt) || errors.Is(f, nil) {
		t.Errorf("%+v is something", f)
	}
}

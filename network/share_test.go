package network

import (
	"errors"
	"testing"
)

// Reset does not take the rules away from under a pod that is being attached.
func TestResetWaitsForNobody(t *testing.T) {
	h := &Host{RunDir: t.TempDir()}
	release, err := h.shareHost()
	if err != nil {
		t.Fatal(err)
	}
	second, err := h.shareHost()
	if err != nil {
		t.Fatalf("a second attach: %v", err)
	}
	second()
	if err := h.Reset(true); !errors.Is(err, ErrInUse) {
		t.Errorf("Reset during an attach: %v, want ErrInUse", err)
	}
	release()
	release, err = h.ownHost()
	if err != nil {
		t.Fatalf("after it: %v", err)
	}
	release()
}

// Package await is how tests wait for what another process, another goroutine or the kernel does in its own time: for the thing itself, never
// for a time that should do.
//
// It knows a condition and a bound, and nothing of what is waited for. Its invariant: what holds costs a look; only what does not hold takes
// as long as Patience.
package await

import (
	"testing"
	"time"
)

// Patience is for a machine that is slow and busy: what is to come, comes soon, and this is waited for only where it does not.
const Patience = time.Minute

// pause is between two looks.
const pause = 5 * time.Millisecond

// Until returns when ok says so, and ends the test when it does not in time.
func Until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(Patience); !ok(); time.Sleep(pause) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// Success returns when f returns nil. When it does not in time the test has failed, with its last error, and goes on: for what is looked at last.
func Success(t testing.TB, what string, f func() error) {
	t.Helper()
	for deadline := time.Now().Add(Patience); ; time.Sleep(pause) {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("waited in vain for %s: %v", what, err)
			return
		}
	}
}

package runtime

import (
	goruntime "runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// Only the slack that nobody has chosen is changed.
func TestRelax(t *testing.T) {
	goruntime.LockOSThread() // and not unlocked: the thread ends with the test
	for given, want := range map[uintptr]int{usualSlack: ourSlack, 70_000: 70_000, 1: 1} {
		if err := unix.Prctl(unix.PR_SET_TIMERSLACK, given, 0, 0, 0); err != nil {
			t.Fatal(err)
		}
		relax()
		if got, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0); err != nil || got != want {
			t.Errorf("%d became %d (%v), want %d", given, got, err, want)
		}
	}
}

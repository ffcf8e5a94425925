package runtime

import "golang.org/x/sys/unix"

// The kernel may be late with a thread's timers by its slack, in nanoseconds. ourSlack is a value that gantry-init knows to take back from an
// app's program (cmd/gantry-init/exec.c), and that nobody else would choose.
const (
	usualSlack = 50_000
	ourSlack   = 1_000_003
)

// relax lets the kernel be late by a millisecond with the timers of the calling thread, of what it becomes and of what that starts. A Go program
// that has something to do is looked after by a thread that wakes up every 20 us: 500 wake-ups in a start, each of which pushes somebody from a
// processor. Who was given another slack already (TimerSlackNSec= of a unit) keeps it.
func relax() {
	if slack, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0); err == nil && slack == usualSlack {
		_ = unix.Prctl(unix.PR_SET_TIMERSLACK, ourSlack, 0, 0, 0)
	}
}

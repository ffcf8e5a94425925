package stage1

import (
	"runtime"
	"sync"
)

// spareThreads is how many threads the supervisor keeps that nobody needs yet.
const spareThreads = 3

// keepThreads has the kernel give us threads while it can. Where a limit of processes is reached later, that of the unit say, Go's runtime ends
// the whole program for want of one that runs on while another waits in the kernel, and so would the pod end: a limit that its apps share with us.
func keepThreads() {
	release := make(chan struct{})
	var have sync.WaitGroup
	for range spareThreads {
		have.Add(1)
		go func() {
			runtime.LockOSThread()
			have.Done()
			<-release
			runtime.UnlockOSThread() // and it stays, idle
		}()
	}
	have.Wait()
	close(release)
}

package pods

// What stage1 finds open when it is executed. Everything else is closed.
const (
	DirFD   = 3 + iota // the pod directory
	LockFD             // the lock file; the life lock is held through it
	ReadyFD            // of a detached pod: a pipe, where stage1 says that the pod is ready, or why not
)

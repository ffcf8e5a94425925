package pods

// State is where a pod is in its life.
type State string

// The states. Only Prepared, Running and Exited are meant to last.
//
//	preparing ─▶ prepared ─▶ starting ─▶ running ─▶ exiting ─▶ exited ─▶ (gc)
//	    └▶ aborted                          └────── killed ─────▲
const (
	Preparing State = "preparing" // stage0 is writing
	Aborted   State = "aborted"   // stage0 died before stage1 was there
	Prepared  State = "prepared"
	Starting  State = "starting" // stage1 has the lock and has not announced itself yet
	Running   State = "running"
	Exiting   State = "exiting" // everything is undone, the supervisor is about to go
	Exited    State = "exited"
)

// facts are what a pod's state depends on, and nothing else.
type facts struct {
	Manifest bool // pod.json exists
	Run      bool // run.json exists
	Exit     bool // exit.json exists
	Stale    bool // run.json is of another boot
	Held     bool // somebody holds the life lock
	Fleeting bool // pod.json says that `run` made the pod, or cannot be read: who finds its lock free may not start it
}

// State is the table of docs/pods.md.
func (f facts) State() State {
	switch {
	case f.Exit && f.Held:
		return Exiting
	case f.Exit:
		return Exited
	case f.Stale:
		return Exited // whatever the lock says: nothing of another boot is alive
	case !f.Manifest && f.Held:
		return Preparing
	case !f.Manifest:
		return Aborted
	case f.Run && f.Held:
		return Running
	case f.Run:
		return Exited // the supervisor died: "lost"
	case f.Held:
		return Starting
	case f.Fleeting:
		return Aborted
	default:
		return Prepared
	}
}

// Live reports whether a supervisor may be at work: the pod must not be touched but through it.
func (s State) Live() bool { return s == Starting || s == Running || s == Exiting }

// Over reports whether the pod will never run again.
func (s State) Over() bool { return s == Exited || s == Aborted }

// States are all that there are, in the order of a pod's life.
func States() []State {
	return []State{Preparing, Aborted, Starting, Prepared, Running, Exiting, Exited}
}

package pods

// ControlFile is the supervisor's socket in the run directory of a pod. A client connects, writes one ControlRequest as a line of
// JSON, reads one ControlReply, and is done. The supervisor hears only root.
const ControlFile = "ctl"

// ControlRequest asks the supervisor for something that signals cannot say.
type ControlRequest struct {
	Version string `json:"version"`
	Verb    string `json:"verb"` // ControlRestart
	App     string `json:"app"`
}

// ControlRestart stops an app as a stop of the pod would, and starts it again, whatever its policy. The reply comes when its
// program has been executed.
const ControlRestart = "restart"

// ControlReply says that it was done, or why not.
type ControlReply struct {
	Error string `json:"error,omitempty"`
}

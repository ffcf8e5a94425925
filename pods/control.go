package pods

// ControlFile is the supervisor's socket in the run directory of a pod. A client connects, writes one ControlRequest as a line of
// JSON, reads one ControlReply, and is done. The supervisor hears only root.
const ControlFile = "ctl"

// StopSignal asks a supervisor for an ordered stop, as the first SIGTERM does; unlike that, a second one asks for nothing more: two people who stop
// a pod, or one and systemd, do not kill it. It is what `machinectl poweroff` sends to the leader of a machine: SIGRTMIN+4 of the C library.
const StopSignal = 34 + 4

// ControlRequest asks the supervisor for something that signals cannot say.
type ControlRequest struct {
	Version string   `json:"version"`
	Verb    string   `json:"verb"` // Control...
	App     string   `json:"app"`
	Streams []string `json:"streams,omitempty"` // of ControlAttach: Attach...; none: all that there are
	Session int      `json:"session,omitempty"` // of ControlGuard: its leader's PID
}

// What ControlRequest.Verb can be.
const (
	// ControlRestart stops an app as a stop of the pod would, and starts it again, whatever its policy. The reply comes when its
	// program has been executed.
	ControlRestart = "restart"
	// ControlStop stops an app as a stop of the pod would, and leaves it stopped, whatever its policy; the pod goes on. The reply comes when
	// it has ended, with its post-stop hook. ControlStart starts one that is not running; the reply comes when its program has been executed.
	ControlStop  = "stop"
	ControlStart = "start"
	// ControlAdd takes an app whose app.json has just been written, and does not start it. ControlRemove forgets one that does not run, and takes
	// its directory out of the pod's.
	ControlAdd    = "add"
	ControlRemove = "remove"
	// ControlStreams asks what can be attached to: ControlReply.Streams.
	ControlStreams = "streams"
	// ControlAttach gets a descriptor for each of ControlReply.Streams, in that order, with the reply. The connection stays: its end detaches.
	// Until then the client may send ControlEOF; what it could not be given in time it is told, in replies with Lost.
	ControlAttach = "attach"
	// ControlEOF, on the connection of an attached client, ends the app's stdin, for good.
	ControlEOF = "eof"
	// ControlGuard has the supervisor kill, when the connection ends, what is left of the session of a command that entered the app: its client was
	// killed. One that is done says anything first. There is no reply before that.
	ControlGuard = "guard"
)

// The streams of an app that can be attached to: what a client writes to, and what it reads from. AttachTTYIn is the master of the
// terminal, to set its size with, and not to be read.
const (
	AttachStdin  = "stdin"
	AttachStdout = "stdout"
	AttachStderr = "stderr"
	AttachTTYIn  = "tty-in"
	AttachTTYOut = "tty-out"
)

// ControlReply says that it was done, or why not.
type ControlReply struct {
	Error   string   `json:"error,omitempty"`
	Streams []string `json:"streams,omitempty"`
	Lost    uint64   `json:"lost,omitempty"` // bytes of output that an attached client was too slow for
}

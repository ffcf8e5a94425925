package runtime

import (
	"github.com/gantryrun/gantry/image"
	"github.com/gantryrun/gantry/image/appc"
	"github.com/gantryrun/gantry/network/conf"
	"github.com/gantryrun/gantry/pods"
	"github.com/gantryrun/gantry/runtime/bundle"
)

// PullPolicy says when an image is fetched.
type PullPolicy string

// The policies. The zero value is PullNew.
const (
	PullNew    PullPolicy = "new"    // when it is not in the store, or is a file that has changed since
	PullNever  PullPolicy = "never"  // not at all
	PullUpdate PullPolicy = "update" // always, so that a tag that moved is followed
)

// Request is a pod that somebody wants.
type Request struct {
	UUID        string // empty: a new one
	Name        string
	Hostname    string // empty: gantry-UUID
	Net         conf.Selection
	NetUnasked  bool // Net is what a pod has that asks for none: a flavour may have another
	Ports       []conf.PortMapping
	DNS         pods.DNS
	Hosts       []pods.HostsEntry
	HostsFile   string // pods.HostsFileHost, or empty
	HostIPC     bool
	PrivateIPC  bool   // it was asked for; a pod has its own anyway, unless its flavour has none
	PID         string // pods.PIDPod, pods.PIDHost or pods.PIDApp; empty: pods.PIDPod
	Users       bool   // a user namespace of its own
	Stage1      string // flavour; empty: the Runtime's
	NoOverlay   bool   // the pod gets copies of its images
	Env         bundle.Environment
	Volumes     []bundle.Volume
	Mounts      []bundle.Mount
	Labels      map[string]string
	Annotations map[string]string
	Insecure    bundle.Insecure
	Pull        PullPolicy
	Remove      bool // when it is over
	Register    bool // with systemd-machined
	Sandbox     bool // it stays whatever its apps do, and may have none
	Apps        []AppRequest
	// Run: the caller starts the pod at once. If it is killed before that, nobody else will, and gc takes the pod.
	Run bool
	// Becomes: it becomes the supervisor, by Exec.
	Becomes bool
	// Handed: the caller has a unit start the pod, and waits for that. If it is killed before, gc takes the pod.
	Handed bool
	// Durable: the pod survives a power cut once Prepare has returned. `run` does without: a power cut ends its pod anyway.
	Durable bool
}

// AppRequest is one app of a Request.
type AppRequest struct {
	bundle.App
	Image       image.Ref
	Signature   string // file with that of an ACI; empty: beside it
	Stdin       string // pods.Stream...
	Stdout      string
	Stderr      string
	StopSignal  string // empty: the image's, else SIGTERM
	StopTimeout int    // seconds; 0: DefaultStopTimeout
	Restart     string // pods.ParseRestart; empty: no
	Ready       string // pods.ParseReady; empty: as soon as its program runs
	Watchdog    bool   // says WATCHDOG=1, if the unit has WatchdogSec=
	Essential   bool
	After       []string
	Sockets     []string // names of the unit's sockets that it takes
	Hooks       Hooks
	Labels      map[string]string
	Annotations map[string]string
	// Override is what a pod manifest of appc says in place of the image's own app; nil: that one.
	Override *appc.App

	appc *appc.App // what is known of the app from appc; nil: nothing

	guessed bool // Name is made of where the image was: if that says its name, that counts

	// Of one that is added to a running pod: its place, and the volumes that come with it.
	added   bool
	order   int
	volumes []pods.Volume
}

// Hooks are programs that run as root in an app's root file system: before its own is executed, and after it has ended.
type Hooks struct {
	PreStart, PostStop []string
	// Image says what becomes of those that its image has: HooksRun or HooksSkip. Empty: they run, where nobody said which user the
	// app is to run as.
	Image string
}

// What Hooks.Image can be.
const (
	HooksRun  = "run"
	HooksSkip = "skip"
)

// DefaultStopTimeout is how many seconds an app has between its stop signal and SIGKILL.
const DefaultStopTimeout = 10

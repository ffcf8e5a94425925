package pods

import (
	"errors"
	"time"
)

// Version is the format of every JSON file in a pod directory. A reader refuses any other.
const Version = "v1"

// Names of the files in a pod directory.
const (
	manifestFile = "pod.json"
	runFile      = "run.json"
	netFile      = "net.json"
	exitFile     = "exit.json"
	lockFile     = "lock"
	// ReadyFile is empty: it is there once every app has been started.
	ReadyFile = "ready"
	appsDir   = "apps"
	// AppFile is the manifest of an app, in its directory.
	AppFile = "app.json"
	// ConfigFile is an app's OCI runtime configuration, a template that stage1 completes.
	ConfigFile = "config.json"
	// PreStartFile and PostStopFile are those of its hooks.
	PreStartFile = "pre-start.json"
	PostStopFile = "post-stop.json"
)

// Errors that callers branch on.
var (
	ErrNotFound  = errors.New("no such pod")
	ErrAmbiguous = errors.New("ambiguous pod prefix")
	ErrBusy      = errors.New("pod is locked by another process")
	ErrNameTaken = errors.New("pod name is in use")
	ErrVersion   = errors.New("unknown version of a pod file")
	ErrDamaged   = errors.New("damaged pod file")
)

// Manifest is pod.json: the pod's part of what was asked for. stage0 writes it last; with it the pod is "prepared".
type Manifest struct {
	Version     string            `json:"version"`
	UUID        string            `json:"uuid"`
	Name        string            `json:"name,omitempty"`
	Hostname    string            `json:"hostname"`
	Created     time.Time         `json:"created"`
	Stage1      string            `json:"stage1"` // flavour: Stage1Default or Stage1Chroot
	Net         string            `json:"net"`    // NetNone, NetHost or NetCNI
	Networks    []Network         `json:"networks,omitempty"`
	PluginDirs  []string          `json:"pluginDirs,omitempty"` // where the programs of their plugins are
	Ports       []Port            `json:"ports,omitempty"`
	DNS         DNS               `json:"dns"`
	Hosts       []HostsEntry      `json:"hosts,omitempty"`
	HostsFile   string            `json:"hostsFile,omitempty"` // HostsFileHost: the host's, in place of what gantry and the image say
	IPC         string            `json:"ipc"`                 // "private" or "host"
	PID         string            `json:"pid"`                 // PIDPod, PIDHost or PIDApp
	Users       string            `json:"users,omitempty"`     // UsersPrivate: a user namespace; empty: the host's users
	Volumes     []Volume          `json:"volumes,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Register    bool              `json:"register,omitempty"`  // tell systemd-machined of the pod
	NoOverlay   bool              `json:"noOverlay,omitempty"` // an app that is added gets a copy of its image, as the pod's own have
	Remove      bool              `json:"remove,omitempty"`    // the supervisor removes the pod when it is over
	Sandbox     bool              `json:"sandbox,omitempty"`   // it stays until it is stopped, whatever its apps do, and may have none
	Run         bool              `json:"run,omitempty"`       // who wrote this starts the pod at once, and nobody later
	Starter     *Process          `json:"starter,omitempty"`   // who wrote this hands the pod to a unit; once it is dead, nobody waits for that
}

// What Manifest.Net can be.
const (
	NetNone = "none" // a namespace with only loopback
	NetHost = "host" // the host's own namespace
	NetCNI  = "cni"  // a namespace attached to Manifest.Networks
)

// What Manifest.Stage1 can be.
const (
	Stage1Default = "default"
	Stage1Chroot  = "chroot" // the host's namespaces but that of mounts, and no confinement: for agents of the node
)

// HostsFileHost is what Manifest.HostsFile says of a pod that has the host's /etc/hosts.
const HostsFileHost = "host"

// What Manifest.PID can be.
const (
	PIDPod  = "pod"  // one PID namespace, shared by the apps
	PIDHost = "host" // the host's
	PIDApp  = "app"  // one for each app
)

// UsersPrivate is what Manifest.Users says of a pod with a user namespace.
const UsersPrivate = "private"

// Network is one network that the pod is to be attached to.
type Network struct {
	Name     string      `json:"name"`
	IfName   string      `json:"ifName"`
	Conflist string      `json:"conflist"` // frozen configuration, relative to the pod directory: "net/0-default.conflist"
	Args     [][2]string `json:"args,omitempty"`
	Publish  bool        `json:"publish,omitempty"` // this is the network that publishes Manifest.Ports
	NoDNS    bool        `json:"noDNS,omitempty"`   // it says nothing of DNS; else an app's resolv.conf may depend on what it says
}

// Port is one published port.
type Port struct {
	Name     string `json:"name,omitempty"`
	Protocol string `json:"protocol"`         // "tcp", "udp" or "sctp"
	HostIP   string `json:"hostIP,omitempty"` // empty: every address of the host
	HostPort int    `json:"hostPort"`
	PodPort  int    `json:"podPort"`
}

// DNS is what resolv.conf of the apps is made from. Mode "host" copies the host's file, "none" writes none,
// "" writes Servers, else what the networks returned, else the host's.
type DNS struct {
	Mode    string   `json:"mode,omitempty"`
	Servers []string `json:"servers,omitempty"`
	Search  []string `json:"search,omitempty"`
	Options []string `json:"options,omitempty"`
	Domain  string   `json:"domain,omitempty"`
}

// HostsEntry is one line of /etc/hosts.
type HostsEntry struct {
	IP    string   `json:"ip"`
	Names []string `json:"names"`
}

// Volume is a volume of the pod. Kind is "host", "empty" (a directory below the pod's) or "tmpfs".
type Volume struct {
	Name     string `json:"name"`
	Kind     string `json:"kind"`
	Source   string `json:"source,omitempty"`
	ReadOnly bool   `json:"readOnly,omitempty"`
	// PropagationShared: what the app mounts below a host volume is mounted on the host. stage0 mounts the volume on its directory.
	Propagation string `json:"propagation,omitempty"`
	// Of a tmpfs that several mounts show: stage1 mounts it on the directory of the volume, with Mode, UID, GID and Size (bytes; 0: half
	// of the machine's memory). Without Shared, each mount is a tmpfs of its own, and config.json says all.
	Shared bool  `json:"shared,omitempty"`
	Size   int64 `json:"size,omitempty"`
	// How an empty one begins: mode as chmod(2) takes it (0: 0755), owner, and what of the image of App is copied into it.
	Mode uint32 `json:"mode,omitempty"`
	UID  uint32 `json:"uid,omitempty"`
	GID  uint32 `json:"gid,omitempty"`
	From string `json:"from,omitempty"`
	App  string `json:"app,omitempty"`
}

// PropagationShared is what Volume.Propagation says of mounts that go both ways.
const PropagationShared = "shared"

// App is app.json: one app of the pod. The app exists when the file is there.
type App struct {
	Version     string            `json:"version"`
	Name        string            `json:"name"`
	Order       int               `json:"order"` // position on the command line, from 0
	Image       Image             `json:"image"`
	Rootfs      Rootfs            `json:"rootfs"`
	Exec        []string          `json:"exec"` // what the app runs, for display; config.json decides
	Stdin       string            `json:"stdin,omitempty"`
	Stdout      string            `json:"stdout,omitempty"`
	Stderr      string            `json:"stderr,omitempty"`
	StopSignal  string            `json:"stopSignal"`         // "SIGTERM"
	StopTimeout int               `json:"stopTimeout"`        // seconds until SIGKILL
	Restart     string            `json:"restart,omitempty"`  // see ParseRestart
	Ready       string            `json:"ready,omitempty"`    // see ParseReady
	Watchdog    bool              `json:"watchdog,omitempty"` // the unit's WatchdogSec= is about it too
	Added       bool              `json:"added,omitempty"`    // to a running pod: it is started when somebody asks for it
	Volumes     []Volume          `json:"volumes,omitempty"`  // that came with it, of an added one
	Essential   bool              `json:"essential"`
	After       []string          `json:"after,omitempty"`
	Sockets     []Socket          `json:"sockets,omitempty"`
	Seccomp     *Seccomp          `json:"seccomp,omitempty"` // nil: no filter, or one in config.json
	PreStart    *Hook             `json:"preStart,omitempty"`
	PostStop    *Hook             `json:"postStop,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// Socket is what the app takes of the sockets that systemd passes to the supervisor (socket activation).
type Socket struct {
	Name     string `json:"name"`               // FileDescriptorName= of the socket unit
	Optional bool   `json:"optional,omitempty"` // the app runs without: its image declares the port, and nobody asked for it
}

// What App.Stdin, App.Stdout and App.Stderr can be. Empty lets stage1 choose: the caller's own stream for one app in the foreground
// (a prefixed copy for several), else the log. StreamTTY is of all three, or none.
const (
	StreamInherit = "inherit"
	StreamLog     = "log"
	StreamJournal = "journal" // journald's own socket, uncopied
	StreamNull    = "null"
	StreamTTY     = "tty"
	StreamStream  = "stream" // a pipe of the supervisor's, to attach to
)

// Hook is a program that runs before an app starts or after it has ended, as root in the app's root file system. How is in
// PreStartFile or PostStopFile, beside ConfigFile.
type Hook struct {
	Exec    []string `json:"exec"`              // for display; the configuration decides
	Seccomp *Seccomp `json:"seccomp,omitempty"` // as App.Seccomp
}

// Image says which image an app came from.
type Image struct {
	Name    string `json:"name"`    // as the user wrote it, normalised
	ID      string `json:"id"`      // manifest digest, "sha256:<hex>"
	ChainID string `json:"chainID"` // of its layers
}

// Rootfs says what an app's root file system is made of: an overlay over Lower.
type Rootfs struct {
	Lower    []string `json:"lower"` // absolute directories, highest first
	ReadOnly bool     `json:"readOnly,omitempty"`
	Copied   bool     `json:"copied,omitempty"` // stage0 has copied Lower into rootfs: no overlay
}

// Seccomp names a filter profile and where its compiled form is cached. Both paths are absolute and named by
// content, so that two pods with one profile share one compiled program.
type Seccomp struct {
	Profile string `json:"profile"` // OCI LinuxSeccomp as JSON
	Program string `json:"program"` // array of struct sock_filter; made from Profile by whoever finds it missing
}

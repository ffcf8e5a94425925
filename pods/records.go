package pods

import "time"

// Run is run.json, the first thing that stage1 writes: who supervises the pod, and every external effect that it
// is about to make. gc undoes from it, whatever happened after.
type Run struct {
	Version   string    `json:"version"`
	BootID    string    `json:"bootID"`
	PID       int       `json:"pid"`
	StartTime uint64    `json:"startTime"` // of PID, field 22 of /proc/PID/stat, clock ticks since boot
	Started   time.Time `json:"started"`
	Cgroups   []string  `json:"cgroups"` // absolute directories below which every cgroup of the pod lies
	RunDir    string    `json:"runDir"`  // /run/gantry/pods/<uuid>
	Networks  []string  `json:"networks,omitempty"`
	Machine   string    `json:"machine,omitempty"` // what systemd-machined is to call the pod
	// Of a pod with a user namespace: the host's users that are its own, and where its root file systems are mounted.
	Users   *UserRange `json:"users,omitempty"`
	RootDir string     `json:"rootDir,omitempty"`
}

// UserRange is the users and groups of the host, from Base on, that are 0 to Size-1 in a user namespace.
type UserRange struct {
	Base uint32 `json:"base"`
	Size uint32 `json:"size"`
}

// PrivateUsers is how many users and groups a user namespace has.
const PrivateUsers = 1 << 16

// Net is net.json: what the networks returned.
type Net struct {
	Version    string      `json:"version"`
	Interfaces []Interface `json:"interfaces"`
}

// Interface is one attachment of the pod.
type Interface struct {
	Network string   `json:"network"`
	IfName  string   `json:"ifName"`
	MAC     string   `json:"mac,omitempty"`
	IPs     []string `json:"ips"` // in CIDR notation
	Gateway []string `json:"gateway,omitempty"`
}

// Exit is exit.json, the last thing that stage1 writes: the commit point of "exited".
type Exit struct {
	Version  string    `json:"version"`
	Code     int       `json:"code"` // what the supervisor exits with: 0..253 of the app, 128+N for signal N, 254 of gantry itself
	Reason   string    `json:"reason,omitempty"`
	Finished time.Time `json:"finished"`
	// Left names the steps of the clean-up that failed and that gc has to do again. Empty: gc only deletes.
	Left []string `json:"left,omitempty"`
	// Pod is a copy of what other files say; nil: read those.
	Pod *Digest `json:"pod,omitempty"`
}

// AppRun is apps/<app>/runs/<n>.json: one finished run of an app.
type AppRun struct {
	Version   string    `json:"version"`
	Code      int       `json:"code"` // 128+N where Signal is set
	Signal    string    `json:"signal,omitempty"`
	OOMKilled bool      `json:"oomKilled,omitempty"`
	Reason    string    `json:"reason,omitempty"` // why it could not be started
	Started   time.Time `json:"started"`
	Finished  time.Time `json:"finished"`
	// Again is when the app is to be started again; nil: it is not.
	Again *time.Time `json:"again,omitempty"`
}

// Dropped is logs/<app>.dropped: what of the app's output is not kept any more, or never was. Missing: nothing. It is written again when
// it changes, at most once a second.
type Dropped struct {
	Version string `json:"version"`
	Lines   uint64 `json:"lines"`             // lost to the log: rotated out of it, or the disk did not take them
	Bytes   uint64 `json:"bytes"`             // of them, as the log has them
	Journal uint64 `json:"journal,omitempty"` // lines that journald did not take in time; they were logged
}

package pods

// Launch is the request that stage1 hands to gantry-launch as one JSON line on descriptor 3; gantry-launch answers
// with one Launched line per app, in the order in which they started, and closes.
type Launch struct {
	StateDir string      `json:"stateDir"`       // libcontainer's state, below RunDir
	Init     string      `json:"init"`           // path of gantry-init
	Held     bool        `json:"held,omitempty"` // no app's program is executed before another line comes, an empty one
	Apps     []LaunchApp `json:"apps"`
}

// DefaultPIDs is the limit of processes and threads of an app whose config.json has none.
const DefaultPIDs = 2048

// LaunchApp is one app to start.
type LaunchApp struct {
	Name       string            `json:"name"`
	Config     string            `json:"config"` // path of config.json
	Rootfs     string            `json:"rootfs"`
	Hostname   string            `json:"hostname,omitempty"`
	Cgroup     string            `json:"cgroup"`          // as libcontainer takes it: absolute, or relative to the launcher's own in each hierarchy
	Namespaces map[string]string `json:"namespaces"`      // "pid", "network", "ipc", "uts", "user" to a path; stage1's open descriptors
	Files      map[string]string `json:"files"`           // bind mounts that stage1 adds: target in the app to source on the host
	Yield      []string          `json:"yield,omitempty"` // targets of Files that a volume of Config there, or a directory of the host above, takes the place of
	Users      *UserRange        `json:"users,omitempty"` // of the user namespace, if there is one
	Seccomp    *Seccomp          `json:"seccomp,omitempty"`
	Sockets    []LaunchSocket    `json:"sockets,omitempty"` // become the app's descriptors from 3 on, as sd_listen_fds(3) wants them
	Env        []string          `json:"env,omitempty"`     // in addition to that of Config: what is known only now
	// What becomes the app's 0, 1 and 2, counted from 0 among the descriptors that come with the request; negative is /dev/null.
	Stdin  int `json:"stdin"`
	Stdout int `json:"stdout"`
	Stderr int `json:"stderr"`
	// Rows and Columns are the size of its terminal from the first; 0: unknown, or it has none.
	Rows    uint16 `json:"rows,omitempty"`
	Columns uint16 `json:"columns,omitempty"`
}

// LaunchSocket is one socket that an app gets from the unit.
type LaunchSocket struct {
	FD   int    `json:"fd"` // counted like the streams
	Name string `json:"name"`
}

// Launched is the answer for one app: its process has executed the app's own program, or Error says why not.
type Launched struct {
	App   string `json:"app"`
	PID   int    `json:"pid,omitempty"`  // in the supervisor's PID namespace
	Code  int    `json:"code,omitempty"` // exit code to record with Error: 127 not found, 126 not executable, 254 gantry's own
	Error string `json:"error,omitempty"`

	Warning string `json:"warning,omitempty"` // for the user; the app runs all the same
}

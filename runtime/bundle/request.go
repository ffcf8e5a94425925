package bundle

import ocispec "github.com/opencontainers/image-spec/specs-go/v1"

// App is what was asked of one app on the command line. The zero value asks for what the image says.
type App struct {
	Name string

	Exec string   // replaces Entrypoint, and drops Cmd
	Args []string // replaces Cmd; nil leaves it

	User, Group       string
	SupplementaryGIDs []uint32
	Environment       []EnvVar
	WorkingDir        string

	ReadOnlyRootfs     bool
	NoNewPrivileges    bool // asked for: it is the default, but in a chroot
	NoNewPrivilegesOff bool
	Caps               Caps
	Seccomp            SeccompRequest
	Unmask             []string

	Mounts  []Mount
	Places  []Place // names of the image's volumes
	Tmpfs   []Tmpfs
	Devices []Device
	Ulimits []Ulimit
	Sysctls []Sysctl

	Resources Resources
}

// Place is a volume of the image that has a name there: a volume of the pod with that name is mounted on it.
type Place struct {
	Name     string
	Path     string
	ReadOnly bool
}

// Resources are the limits of one app. Zero is no limit of its own.
type Resources struct {
	Memory      int64  // bytes
	CPU         int64  // thousandths of a core
	CPUShares   uint64 // 2 to 262144
	PIDs        int64  // 0: DefaultPIDs, -1: no limit
	IOWeight    uint16 // 10 to 1000
	OOMScoreAdj *int
}

// Pod is what an app has to know of the pod that it is part of.
type Pod struct {
	UUID    string
	Path    string // of the pod directory: empty volumes lie below it
	HostNet bool
	HostPID bool
	HostIPC bool
	Users   bool // a user namespace of its own
	Chroot  bool // nothing of its own but the root file system, and no confinement
	Env     Environment
	Volumes []Volume
	Mounts  []Mount // into every app
	// Insecure are the checks of --insecure-options that are off.
	Insecure Insecure
}

// Insecure names what a pod may do without.
type Insecure struct{ Capabilities, Seccomp, Paths bool }

// Environment is what the pod gives to every app, weakest first. An app's own Environment is the strongest.
type Environment struct {
	Inherited []EnvVar // --inherit-env: weaker than the image
	Files     []EnvVar // --set-env-file
	Set       []EnvVar // --set-env
}

// Input is everything that Build looks at.
type Input struct {
	Pod      Pod
	App      App
	Image    ocispec.Image
	Identity Identity // of the user that User(Image, App) names
}

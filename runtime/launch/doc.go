// Package launch starts the processes of apps: it is the one wrapper of libcontainer, and gantry-launch its one user.
//
// It knows how a template of stage0 (an OCI runtime configuration) becomes a running process in a pod that stage1
// made, and how a second process joins such an app. It never supervises: it is gone as soon as the apps run, and they
// become children of the supervisor. It never makes a pod's namespaces, never mounts a root file system, never
// decides what an app may do.
//
// Its invariant: what it could not start is not there. An app that is answered with an error has no process, no
// cgroup and no state directory.
//
//	gantry-launch                     "init" (libcontainer, twice)             gantry-init exec
//	  │ fork, exec of a sealed copy ──▶ │ joins namespaces, becomes a child of
//	  │ cgroups, limits                 │ gantry-launch, mounts, pivots, drops
//	  │                                 ├─ exec by descriptor ────────────────▶ │ seccomp filter from a pipe
//	  │ ◀──────────────────────────────────────── status pipe: end of file ──── ├─ exec of the app's program
package launch

// Package stage1 is the supervisor of one pod: it makes every kernel object that the pod needs, waits, and undoes.
//
// It is told one thing, an open pod directory, and reads the rest from there. It never looks at an image, a registry
// or the host's configuration, and it links neither libcontainer nor HTTP: it stays resident for the whole life of the pod.
// Its invariant: what it is about to make is named in run.json before it is made, so that whoever
// comes after a SIGKILL can undo it from the directory alone.
//
//	argv ─▶ announce (run.json) ─▶ reaper, with the pod's namespaces ─▶ mounts ─▶ network and apps ─▶ ready
//	                                                                                                  │
//	exit code ◀─ exit.json ◀─ undo, in reverse ◀─ stop the others, kill the reaper ◀─ an app ends the pod
package stage1

// Package runtime is stage0: it prepares pods, hands them to stage1, and looks after what is left of them.
//
// It knows the image store, the networks' configuration and the pod directory, and makes of them a pod that is complete
// on disk. It never makes a kernel object for a pod (but the private mount namespace that it executes stage1 in), never
// links what runs a pod, and leaves nothing running: every function here ends, or ends in execve.
//
// Invariant: until Commit, a pod is a draft that gc may take as soon as its maker dies; from then on, whatever is
// wrong with it can be seen in its directory.
package runtime

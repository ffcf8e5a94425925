// Package attach joins the caller's streams and terminal to those of an app: raw mode, size, detach keys, and the end.
//
// It knows descriptors, not pods: who calls it has got them from the pod's supervisor. It never waits for an app that does not read, and never keeps
// the caller's terminal raw when it returns. Its invariant: closing what it was given is all that a detach takes.
package attach

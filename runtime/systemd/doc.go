// Package systemd is what gantry knows of systemd: how a pod gets a unit of its own, how a unit for a command line is written,
// and how files that describe pods become units at boot.
//
// It never runs on the path of a pod that systemd started: there, the process is the pod's supervisor, and a notification
// socket is all that is needed. It never edits a unit that somebody else wrote.
// Invariant: a systemd that does not answer costs four seconds, and nothing else.
package systemd

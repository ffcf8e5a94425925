// Package logs reads what the apps of a pod wrote, from the files in its directory, for running and exited pods alike.
//
// It knows the CRI line format and how files are rotated. It never writes. Its invariant: lines come in the order of their
// time, each once, and a file that is being written or rotated meanwhile loses none.
package logs

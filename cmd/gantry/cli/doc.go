// Package cli is gantry's command line: a file per verb, flags to structs, results to stdout, diagnostics to stderr.
//
// It knows the grammar and the words for errors; what a verb does is in package runtime and in the image store. It is the
// only place that prints, and the only one that decides exit codes (exit.go). It never calls os.Exit.
package cli

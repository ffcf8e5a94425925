// Package tests holds what is true of the repository as a whole: the import laws, the dependency lists of the
// programs, the shape of the code. Below it are the scripts of the command line, the leak check, the images, the
// demo and the benchmarks.
//
// It never tests one package's behaviour: that is beside the package. Invariant: everything here runs under
// `go test ./...`.
package tests

// Package e2e runs gantry's programs as a user would, where a script is not enough: real images from a real
// registry, kills at random moments, a pod's tree compared file by file with what other tools unpack.
//
// Every test runs in a box and ends with the leak check. It never reads gantry's files: what a test needs to know,
// a command or the kernel says.
package e2e

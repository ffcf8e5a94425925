// Package pods is the disk contract of gantry: what a pod directory holds, who writes which file, and which state
// follows from it. docs/pods.md is the same in words, and normative.
//
// It reads and writes the files of pods and takes their locks. It never makes a kernel object, never looks at an
// image, and never asks anything outside the pods directory but the boot id. Its invariant: state is a pure function of which files
// exist and whether the lock is held; every file has one writer, is written once, atomically, and exists before
// the thing that it announces.
package pods

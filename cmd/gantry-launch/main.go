// gantry-launch starts the processes of a pod's apps, and is gone: it is stage1 that supervises them.
//
//	gantry-launch start          reads a request from descriptor 3, answers there (package launch)
//	gantry-launch enter ...      runs a command inside a running app
//	gantry-launch init           libcontainer's own second stage, never called by hand
package main

import (
	"fmt"
	"os"
	"runtime/debug"

	"github.com/opencontainers/runc/libcontainer"
	_ "github.com/opencontainers/runc/libcontainer/nsenter" // joins namespaces before Go's runtime starts its threads

	"github.com/gantryrun/gantry/runtime/launch"
)

// init takes over where nsenter left off: libcontainer executes this program again, as "init", inside the app.
func init() {
	debug.SetGCPercent(-1) // it is over before a collection would pay
	if len(os.Args) > 1 && os.Args[1] == "init" {
		libcontainer.Init()
	}
}

// codeInternal is the exit code of a failure that is gantry's own.
const codeInternal = 254

func main() {
	if len(os.Args) != 2 || os.Args[1] != "start" {
		fmt.Fprintln(os.Stderr, "gantry-launch: a part of gantry, not to be called by hand")
		os.Exit(codeInternal)
	}
	if err := launch.Start(os.NewFile(3, "supervisor")); err != nil {
		fmt.Fprintf(os.Stderr, "gantry: launch: %v\n", err)
		os.Exit(codeInternal)
	}
}

// gantry-launch starts the processes of a pod's apps, and is gone: it is stage1 that supervises them.
//
//	gantry-launch start          reads a request from descriptor 3, answers there (package launch)
//	gantry-launch enter ...      runs a command inside a running app
//	gantry-launch init           libcontainer's own second stage, never called by hand
package main

import (
	"errors"
	"os"
	"runtime"
	"runtime/debug"

	"github.com/opencontainers/runc/libcontainer"
	_ "github.com/opencontainers/runc/libcontainer/nsenter" // joins namespaces before Go's runtime starts its threads

	"github.com/gantryrun/gantry/pods/report"
	"github.com/gantryrun/gantry/runtime/launch"
)

// init takes over where nsenter left off: libcontainer executes this program again, as "init", inside the app.
func init() {
	debug.SetGCPercent(-1) // it is over before a collection would pay
	if len(os.Args) > 1 && os.Args[1] == "init" {
		launch.Furnish()
		libcontainer.Init()
	}
	runtime.LockOSThread()           // main stays on the process's first thread: another one is moved between cgroups
	_ = os.Setenv("GOMAXPROCS", "1") // for that second stage, which gets ours and wants no more; ours is decided
}

// codeInternal is the exit code of a failure that is gantry's own.
const codeInternal = 254

func main() {
	verb := ""
	if len(os.Args) > 1 {
		verb = os.Args[1]
	}
	say := report.Reporter{To: os.Stderr, Verb: verb}
	code, err := 0, error(nil)
	switch verb {
	case "start":
		if err = launch.Start(os.NewFile(3, "supervisor")); err != nil {
			code = codeInternal
		}
	case "enter":
		code, err = enter(os.Args[2:], &say)
	default:
		code, say.Verb, err = codeInternal, "launch", errors.New("a part of gantry, not to be called by hand")
	}
	if err != nil {
		say.Fail(code, err)
	}
	os.Exit(code)
}

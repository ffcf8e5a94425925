// Command gantry prepares pods, starts them and looks after what is left of them. It is no daemon: it writes a pod
// directory, executes gantry-stage1 in its own place, and is gone.
package main

import (
	"os"

	"github.com/gantryrun/gantry/cmd/gantry/cli"
)

// Descriptors 0 to 2 that the caller closed are /dev/null by now: the Go runtime opens it before main, so that no file
// of ours can take their place and be written to by what means to print.
func main() {
	os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

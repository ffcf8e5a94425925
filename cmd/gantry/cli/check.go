package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/gantryrun/gantry/pods/printable"
	"github.com/gantryrun/gantry/runtime/hostcheck"
)

func newCheckCommand(e *env) *cobra.Command {
	var format string
	cmd := verb("check [flags]", "Say whether this machine is fit, and what is lost without what it lacks", between(0, 0))
	formatVar(cmd.Flags(), &format)
	cmd.RunE = func(*cobra.Command, []string) error { return runCheck(e, format) }
	return cmd
}

func runCheck(e *env, format string) error {
	r, err := e.runtime()
	if err != nil {
		return err
	}
	results := hostcheck.Run(hostcheck.Host{Dir: r.Dir, Store: r.Store, Programs: r.Programs, PluginDirs: r.Networks.PluginDirs})
	missing := 0
	for _, c := range results {
		if !c.OK && c.Needed {
			missing++
		}
	}
	if isJSON(format) {
		err = writeJSON(e.stdout, results)
	} else {
		printCheck(e, results)
	}
	if err == nil && missing > 0 {
		err = fmt.Errorf("this machine lacks %d of the things that pods need", missing)
	}
	return err
}

func printCheck(e *env, results []hostcheck.Result) {
	for _, c := range results {
		mark := "ok"
		switch {
		case !c.OK && c.Needed:
			mark = "NO"
		case !c.OK:
			mark = "--"
		}
		fmt.Fprintf(e.stdout, "%s  %-14s %s\n", mark, c.Name, printable.Text(c.Found))
		if !c.OK && c.Lost != "" {
			fmt.Fprintf(e.stdout, "    without it: %s\n", c.Lost)
		}
	}
}

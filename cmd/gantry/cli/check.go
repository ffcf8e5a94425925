package cli

import (
	"fmt"

	"github.com/spf13/cobra"

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
	if isJSON(format) {
		return writeJSON(e.stdout, results)
	}
	missing := 0
	for _, c := range results {
		mark := "ok"
		if !c.OK {
			mark = "--"
			if c.Needed {
				mark = "NO"
				missing++
			}
		}
		fmt.Fprintf(e.stdout, "%s  %-14s %s\n", mark, c.Name, quoteControl(c.Found))
		if !c.OK && c.Lost != "" {
			fmt.Fprintf(e.stdout, "    without it: %s\n", c.Lost)
		}
	}
	if missing > 0 {
		return fmt.Errorf("this machine lacks %d of the things that pods need", missing)
	}
	return nil
}

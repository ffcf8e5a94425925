package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/gantryrun/gantry/runtime"
)

func newGCCommand(e *env) *cobra.Command {
	o := runtime.GCOptions{Grace: 30 * time.Minute, ExpirePrepared: 24 * time.Hour}
	var format string
	cmd := verb("gc [flags]", "Remove pods that are over, and what killed commands left", between(0, 0))
	fs := cmd.Flags()
	oneVar(fs, &o.Grace, "grace-period", "DURATION", "how long a pod stays after its end (default 30m)", parseDuration)
	oneVar(fs, &o.ExpirePrepared, "expire-prepared", "DURATION", "how long a prepared pod waits to be run (default 24h)", parseDuration)
	fs.BoolVar(&o.MarkOnly, "mark-only", false, "undo what dead supervisors left, and remove nothing")
	fs.BoolVar(&o.DryRun, "dry-run", false, "only print what would be removed")
	formatVar(fs, &format)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return runGC(cmd.Context(), e, o, format) }
	return cmd
}

func runGC(ctx context.Context, e *env, o runtime.GCOptions, format string) error {
	if err := needHost(); err != nil {
		return err
	}
	r, err := e.runtime()
	if err != nil {
		return err
	}
	report, err := r.GC(ctx, o)
	if report != nil && isJSON(format) {
		return errors.Join(writeJSON(e.stdout, report), err)
	}
	if report != nil {
		for _, uuid := range report.Removed {
			fmt.Fprintln(e.stdout, uuid)
		}
	}
	return err
}

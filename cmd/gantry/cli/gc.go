package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
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
	listVar(fs, &o.SkipPlugins, "skip-plugin", "TYPE", "take networks down without this CNI plugin, whose program is gone; what it made stays", pluginType)
	formatVar(fs, &format)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return runGC(cmd.Context(), e, o, format) }
	return cmd
}

func pluginType(s string) (string, error) {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"
	if s == "" || len(s) > 255 || strings.HasPrefix(s, "-") || strings.Trim(s, letters) != "" {
		return "", fmt.Errorf("%.40q is not the type of a plugin: a file name of letters, digits and ._-", s)
	}
	return s, nil
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
	return undoHint(err)
}

package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/gantryrun/gantry/image"
	"github.com/gantryrun/gantry/runtime/bundle"
)

func newImageGCCommand(e *env) *cobra.Command {
	o := image.GCOptions{Grace: 24 * time.Hour, Unused: true}
	var format string
	cmd := verb("gc [flags]", "Remove images that no pod was made from and nobody used for long", between(0, 0))
	fs := cmd.Flags()
	oneVar(fs, &o.Grace, "grace-period", "DURATION", "how long an unused image stays (default 24h)", parseDuration)
	alias(fs, "older-than", "", "grace-period")
	oneVar(fs, &o.MaxSize, "max-size", "SIZE", "remove the longest unused, however young, until what stays is no larger", bundle.ParseBytes)
	fs.BoolVar(&o.DryRun, "dry-run", false, "only print what would be removed")
	formatVar(fs, &format)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return runImageGC(cmd.Context(), e, o, format) }
	return cmd
}

func runImageGC(ctx context.Context, e *env, o image.GCOptions, format string) error {
	if err := needHost(); err != nil {
		return err
	}
	r, err := e.runtime()
	if err != nil {
		return err
	}
	report, err := r.ImageGC(ctx, o)
	if isJSON(format) {
		return errors.Join(writeJSON(e.stdout, report), err)
	}
	for _, id := range report.Images {
		fmt.Fprintln(e.stdout, id)
	}
	return err
}

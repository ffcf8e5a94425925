package cli

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/spf13/cobra"

	"github.com/gantryrun/gantry/image"
	"github.com/gantryrun/gantry/pods/printable"
	"github.com/gantryrun/gantry/runtime"
)

type verifyOptions struct {
	format string
	repair bool
}

func newImageVerifyCommand(e *env) *cobra.Command {
	o := verifyOptions{}
	cmd := verb("verify [flags] IMAGE...", "Hash the stored bytes of images again", between(1, math.MaxInt))
	formatVar(cmd.Flags(), &o.format)
	cmd.Flags().BoolVar(&o.repair, "repair", false, "fetch again, by digest, what is not what it should be; running pods keep what they have")
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return runImageVerify(cmd.Context(), e, o, args) }
	return cmd
}

// verifiedJSON is what --format=json says of one image.
type verifiedJSON struct {
	ID       string          `json:"id"`
	Problems []image.Problem `json:"problems"`
	Repaired bool            `json:"repaired,omitempty"` // what the problems say is over
}

func runImageVerify(ctx context.Context, e *env, o verifyOptions, args []string) error {
	if o.repair {
		if err := needHost(); err != nil { // mounts are replaced too
			return err
		}
	}
	var all []verifiedJSON
	var errs []error
	for _, a := range args {
		r, i, err := getImage(ctx, e, a)
		if err != nil {
			if errors.Is(err, image.ErrCorrupt) {
				err = withHint(err, "gantry fetch %s writes its records anew", a)
			}
			errs = append(errs, err)
			continue
		}
		v, err := verifyImage(ctx, e, r, i, o.repair)
		all, errs = append(all, v), append(errs, err)
	}
	if isJSON(o.format) {
		return errors.Join(writeJSON(e.stdout, all), errors.Join(errs...))
	}
	for _, v := range all {
		for _, p := range v.Problems {
			fmt.Fprintf(e.stdout, "%s: %s\n", printable.Text(p.Path), printable.Text(p.What))
		}
		switch {
		case v.Repaired:
			fmt.Fprintf(e.stdout, "%s: repaired\n", v.ID)
		case len(v.Problems) == 0:
			fmt.Fprintf(e.stdout, "%s: verified\n", v.ID)
		}
	}
	return errors.Join(errs...)
}

func verifyImage(ctx context.Context, e *env, r *runtime.Runtime, i *image.Image, repair bool) (verifiedJSON, error) {
	problems, err := r.Store.Verify(ctx, i)
	v := verifiedJSON{ID: i.ID.String(), Problems: append([]image.Problem{}, problems...)}
	if err != nil || len(problems) == 0 {
		return v, err
	}
	if !repair {
		return v, withHint(fmt.Errorf("%w: image %s: %d files are not what they should be", image.ErrCorrupt, i.ID, len(problems)),
			"gantry image verify --repair %s", i.ID)
	}
	c, err := e.orders(r)
	if err == nil {
		err = c.Repair(ctx, i, problems)
	}
	v.Repaired = err == nil
	return v, err
}
